package executor

// Where things lie in a job's pod: package kubernetes mounts them there, and the agent finds them there.
const (
	PodWorkDir   = "/workspace"    // the job's workspace
	PodAgentDir  = "/orchestrator" // where the program's container finds the agent, which fetch puts there
	PodAgentName = "agent"
	PodTokenFile = "/var/run/secrets/go-job-orchestrator/token" //nolint:gosec // where it lies, not what it is
)
