-- Only those with an account come in, and only the owner makes accounts.
admins = { "archipelago@{{setting:domain}}" }
modules_enabled = {
	"disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "limits", "pep", "smacks",
	"vcard4", "vcard_legacy", "csi_simple", "ping", "time", "uptime", "version", "mam", "cloud_notify",
	"admin_adhoc", "admin_shell",
}
modules_disabled = { "s2s", "dialback" }
data_path = "/data"
pidfile = "/tmp/prosody.pid"
admin_socket = "/tmp/prosody.sock"
authentication = "internal_hashed"
storage = "internal"
c2s_require_encryption = true
archive_expires_after = "1y"
limits = { c2s = { rate = "1mb/s" } }
log = { warn = "*console" }
ssl = { key = "/run/secrets/tls-key", certificate = "/run/secrets/tls-cert" }
certificates = "/tmp"
c2s_ports = { 5222 }
VirtualHost "{{setting:domain}}"
Component "rooms.{{setting:domain}}" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam" }
	restrict_room_creation = "local"
