package telemetry

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/version"
)

// This file alone knows the names of attributes. Spans follow OpenTelemetry's conventions for CI/CD, a
// job being the run of a pipeline and its steps being tasks, and those for FaaS, a job being the
// invocation of a function. Both are of this version:
const schemaURL = semconv.SchemaURL

// serviceName is what OTEL_SERVICE_NAME replaces.
const serviceName = "go-job-orchestrator"

// The attributes that no convention has.
const (
	attrRuntime = attribute.Key("gojob.runtime")
	attrReason  = attribute.Key("gojob.reason")   // of the job, or of the attempt
	attrJobName = attribute.Key("gojob.job.name") // that its user gave it
	attrProfile = attribute.Key("gojob.profile")
	attrAttempt = attribute.Key("gojob.attempt") // from 1
	attrRerunOf = attribute.Key("gojob.rerun_of")
)

// The labels of metrics.
const (
	labelRuntime = attribute.Key("runtime")
	labelSource  = attribute.Key("source")
	labelPhase   = attribute.Key("phase")
	labelReason  = attribute.Key("reason")
)

// serviceAttributes say what sends.
func serviceAttributes(v version.Info) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.ServiceName(serviceName), semconv.ServiceVersion(v.Version)}
}

// buildAttributes are the labels of the metric that says what was built.
func buildAttributes(v version.Info) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("version", v.Version), attribute.String("commit", v.Commit), attribute.String("goversion", v.Go),
	}
}

// pipeline is the name under which runs of the same kind are found together: the template's, else the
// one that the user gave, else the runtime's.
func pipeline(index *job.Index) string {
	switch {
	case index.Template != nil:
		return index.Template.Name
	case index.Name != "":
		return index.Name
	}
	return index.Runtime
}

// runName is the name of the span of a whole job: the action and the pipeline.
func runName(index *job.Index) string { return "RUN " + pipeline(index) }

// runAttributes are those of the span of a whole job.
func runAttributes(index *job.Index, t *job.Terminal) []attribute.KeyValue {
	list := []attribute.KeyValue{
		semconv.CICDPipelineName(pipeline(index)), semconv.CICDPipelineRunID(string(index.JobID)),
		semconv.CICDPipelineActionNameRun, semconv.CICDPipelineResultKey.String(resultOf(t.Phase, t.Reason)),
		semconv.FaaSInvocationID(string(index.JobID)), triggerOf(index), attrRuntime.String(index.Runtime),
		attrReason.String(string(t.Reason)),
	}
	if index.Template != nil {
		list = append(list, semconv.FaaSName(index.Template.Name), semconv.FaaSVersion(strconv.Itoa(index.Template.Version)))
	}
	for _, one := range []attribute.KeyValue{
		attrJobName.String(index.Name), attrProfile.String(index.Profile), attrRerunOf.String(string(index.RerunOf)),
	} {
		if one.Value.AsString() != "" {
			list = append(list, one)
		}
	}
	if t.Phase == job.Failed {
		list = append(list, semconv.ErrorTypeKey.String(string(t.Reason)))
	}
	return list
}

// triggerOf says how the function was invoked.
func triggerOf(index *job.Index) attribute.KeyValue {
	if index.Telemetry != nil && index.Telemetry.Source == job.ByEvent {
		return semconv.FaaSTriggerPubSub
	}
	return semconv.FaaSTriggerHTTP
}

// taskAttributes are those of the span of a step. attempt is 0 for a step of the whole job.
func taskAttributes(id job.ID, s job.Span, attempt int) []attribute.KeyValue {
	run := string(id) + "/" + string(s)
	list := []attribute.KeyValue{semconv.CICDPipelineTaskName(string(s))}
	if attempt > 0 {
		run += "/" + strconv.Itoa(attempt)
		list = append(list, attrAttempt.Int(attempt))
	}
	return append(list, semconv.CICDPipelineTaskRunID(run))
}

// attemptAttributes are more of the span of an attempt, which say how it ended.
func attemptAttributes(a job.Attempt) []attribute.KeyValue {
	list := []attribute.KeyValue{
		semconv.CICDPipelineTaskRunResultKey.String(attemptResult(a.Reason)), attrReason.String(string(a.Reason)),
	}
	if failed(a.Reason) {
		list = append(list, semconv.ErrorTypeKey.String(string(a.Reason)))
	}
	return list
}

// execAttributes are more of the span of a program.
func execAttributes(a job.Attempt) []attribute.KeyValue {
	if a.ExitCode == nil {
		return nil
	}
	return []attribute.KeyValue{semconv.ProcessExitCode(*a.ExitCode)}
}

// failed reports whether an attempt that ended so has failed.
func failed(r job.Reason) bool { return r != job.ReasonCompleted && r != job.ReasonCancelled }

func attemptResult(r job.Reason) string {
	switch r {
	case job.ReasonCompleted:
		return resultOf(job.Succeeded, r)
	case job.ReasonCancelled:
		return resultOf(job.Cancelled, r)
	}
	return resultOf(job.Failed, r)
}

// resultOf is the result of a run or a task: failure is the program's own, error that of the platform.
func resultOf(p job.Phase, r job.Reason) string {
	value := semconv.CICDPipelineResultError
	switch {
	case p == job.Succeeded:
		value = semconv.CICDPipelineResultSuccess
	case p == job.Cancelled:
		value = semconv.CICDPipelineResultCancellation
	case r == job.ReasonDeadlineExceeded:
		value = semconv.CICDPipelineResultTimeout
	case r == job.ReasonError, r == job.ReasonOOMKilled, r == job.ReasonDependenciesFailed, r == job.ReasonEvicted,
		r == job.ReasonCannotRun:
		value = semconv.CICDPipelineResultFailure
	}
	return value.Value.AsString()
}
