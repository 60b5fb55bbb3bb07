package executor

// Where things lie in a job's pod: package kubernetes mounts them there, and the agent finds them
// there.
const (
	PodWorkDir   = "/workspace"    // the job's workspace
	PodAgentDir  = "/orchestrator" // where the program's container finds the agent
	PodAgentName = "agent"
	// In PodAgentDir as well: the program's container sees them as files of /etc.
	PodPasswd = "passwd"
	PodGroup  = "group"
	// Where the operator's secrets are mounted in the agent's container, a folder for each.
	PodNamedSecrets = "/var/run/secrets/go-job-orchestrator-named" //nolint:gosec // where they lie, not what they are
	// Where the agent's container leaves the secrets for the program's, in memory.
	PodSecretsDir = "/orchestrator-secrets"
	PodTokenFile  = "/var/run/secrets/go-job-orchestrator/token" //nolint:gosec // where it lies, not what it is
)

// The exit codes by which the agent's container says whether the pod's Job may try again after a
// program that failed. sysexits.h has no names for them.
const (
	PodRetry   = 80
	PodNoRetry = 79
)

// PodPlatformFailed is the exit code of both containers when the agent could not do its work:
// EX_SOFTWARE of sysexits.h. A program's own codes are passed on.
const PodPlatformFailed = 70

// PodFetchFailed is the exit code by which the agent's container says that the uploaded files could
// not be fetched: EX_UNAVAILABLE of sysexits.h.
const PodFetchFailed = 69
