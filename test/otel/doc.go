// Package otel has the receiver of a real OpenTelemetry collector take what the real command sends of
// its jobs.
package otel
