package manifest

// Where a node keeps applications, and how their containers are recognised. These
// names are part of the contract: data outlives every version of the daemon.
const (
	// DataDir holds a directory for each application, and OwnDir.
	DataDir = "/var/lib/archipelago"
	// OwnDir is the daemon's directory in DataDir. No application's id begins with an
	// underscore.
	OwnDir = "_daemon"
	// FilesDir is the directory in OwnDir with a directory for each application: of what
	// its containers find as files.
	FilesDir = "files"
	// LabelApp is the label on every container, network and secret of an application;
	// its value is the application's id.
	LabelApp = "io.archipelago.app"
	// LabelSpec is the label with the digest of the unit that a container was made from.
	LabelSpec = "io.archipelago.spec"
	// LabelHealth is the label that says how a container's health is looked at, and how often.
	LabelHealth = "io.archipelago.health"
	// Retired ends the name of a container that has been taken over: stopped, with the
	// secrets and the data as they were.
	Retired = "-before-archipelago"
)

// VolumeDir is the directory of an application's volume below dataDir.
func VolumeDir(dataDir, app, volume string) string { return dataDir + "/" + app + "/" + volume }
