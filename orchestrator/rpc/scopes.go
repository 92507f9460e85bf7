package rpc

import (
	"net/http"
	"path"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// scopes says which scope a call takes. A call that is not listed takes the node's own token.
var scopes = byMethod(map[access.Scope][]string{
	access.Read: {
		"ListApps", "GetApp", "Watch", "Usage", "Status", "Doctor", "GetSubscription",
		"ListStorage", "ListRepositories", "ListSnapshots", "ListNotices",
	},
	access.Operate: {
		"Start", "Stop", "Restart", "MakeSnapshot", "ProveSnapshot", "Refresh",
		"Logs", // in which applications may have put what is nobody else's
	},
	access.Admin: {
		"Install", "Uninstall", "Update", "Rollback", "Configure", "Adopt", "Credentials", "ImportSecret",
		"Backup", "Restore", "RestoreSnapshot", // a backup's recipients are the caller's
		"Subscribe", "LoadCatalog", "GetSupportReport",
		"AddStorage", "MoveVolume", "RemoveStorage",
		"AddRepository", "SetRepository", "RemoveRepository", "GetRecoveryKey",
		"AddTarget", "ListTargets", "TestTarget", "RemoveTarget",
	},
	// Who has access, and which daemon decides that.
	access.NodeToken: {
		"SetPassword", "GetSecondFactor", "EndSecondFactor", "RenewRecoveryCodes",
		"ListPasskeys", "RemovePasskeys", "ListSessions", "EndSessions",
		"ListUsers", "AddUser", "SetUser", "ResetUser", "RemoveUser",
		"ListTokens", "AddToken", "RemoveToken",
		"Upgrade",
	},
})

func byMethod(listed map[access.Scope][]string) map[string]access.Scope {
	of := map[string]access.Scope{}
	for scope, methods := range listed {
		for _, m := range methods {
			of[m] = scope
		}
	}
	return of
}

// scope is what a call takes.
func scope(r *http.Request) access.Scope {
	if s, ok := scopes[path.Base(r.URL.Path)]; ok {
		return s
	}
	return access.NodeToken
}
