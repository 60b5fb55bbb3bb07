// Package kubernetes runs jobs as Kubernetes Jobs: it launches them, stops them, and finds out from
// the cluster what no agent could report. It is the only package that imports k8s.io.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
)

// Client makes the few calls of the API server that this package needs, in one namespace. Errors
// are of the kinds of package job.
type Client struct {
	namespace string
	batch     *rest.RESTClient
	core      *rest.RESTClient
}

// userAgent names us in the API server's audit log.
const userAgent = "go-job-orchestrator"

// ErrNoCluster means that this process does not run in a cluster.
var ErrNoCluster = errors.New("not in a Kubernetes cluster: KUBERNETES_SERVICE_HOST is not set, or the pod has no " +
	"ServiceAccount token")

// InCluster returns a Client with the credentials of the pod that this runs in, for NAMESPACE.
func InCluster(env *platform.Env) (*Client, error) {
	common, err := env.Common()
	if err != nil {
		return nil, err
	}
	c, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, ErrNoCluster
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoCluster, err)
	}
	return NewClient(c, common.Namespace)
}

// NewClient returns a Client for the API server that c names.
func NewClient(c *rest.Config, namespace string) (*Client, error) {
	c = rest.CopyConfig(c)
	c.UserAgent = userAgent
	c.QPS = -1 // client-go would let through five calls a second; the API server's own priority and fairness is enough
	// Half the work of JSON for both sides.
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+
		runtime.ContentTypeJSON
	// client-go's scheme of everything costs milliseconds at each start.
	scheme := runtime.NewScheme()
	batchGroup, coreGroup := batchv1.SchemeGroupVersion, corev1.SchemeGroupVersion
	scheme.AddKnownTypes(batchGroup, &batchv1.Job{}, &batchv1.JobList{}, &batchv1.CronJob{})
	scheme.AddKnownTypes(coreGroup, &corev1.Pod{}, &corev1.PodList{}, &corev1.Secret{}, &corev1.Event{},
		&corev1.EventList{})
	metav1.AddToGroupVersion(scheme, batchGroup)
	metav1.AddToGroupVersion(scheme, coreGroup)
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	transport, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	batch, batchErr := restClient(c, batchGroup, "/apis", transport)
	core, err := restClient(c, coreGroup, "/api", transport)
	if err := errors.Join(batchErr, err); err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return &Client{namespace: namespace, batch: batch, core: core}, nil
}

func restClient(
	c *rest.Config, group schema.GroupVersion, path string, transport *http.Client,
) (*rest.RESTClient, error) {
	c = rest.CopyConfig(c)
	c.GroupVersion, c.APIPath = &group, path
	return rest.RESTClientForConfigAndClient(c, transport)
}

func (c *Client) createJob(ctx context.Context, j *batchv1.Job) (*batchv1.Job, error) {
	var out batchv1.Job
	err := c.batch.Post().Namespace(c.namespace).Resource("jobs").Body(j).Do(ctx).Into(&out)
	return &out, kind(err, "create job")
}

func (c *Client) getJob(ctx context.Context, name string) (*batchv1.Job, error) {
	var out batchv1.Job
	err := c.batch.Get().Namespace(c.namespace).Resource("jobs").Name(name).Do(ctx).Into(&out)
	return &out, kind(err, "get job")
}

// deleteJob deletes a Job; its pods follow. A missing one is no error.
func (c *Client) deleteJob(ctx context.Context, name string) error {
	background := metav1.DeletePropagationBackground
	err := c.batch.Delete().Namespace(c.namespace).Resource("jobs").Name(name).
		Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Error()
	return ignoreMissing(kind(err, "delete job"))
}

func (c *Client) createSecret(ctx context.Context, s *corev1.Secret) error {
	return kind(c.core.Post().Namespace(c.namespace).Resource("secrets").Body(s).Do(ctx).Error(), "create secret")
}

func (c *Client) getSecret(ctx context.Context, name string) (*corev1.Secret, error) {
	var out corev1.Secret
	err := c.core.Get().Namespace(c.namespace).Resource("secrets").Name(name).Do(ctx).Into(&out)
	return &out, kind(err, "get secret")
}

// updateSecret replaces a Secret. The error is of kind job.ErrConflict if the Secret has changed since
// it was read.
func (c *Client) updateSecret(ctx context.Context, s *corev1.Secret) error {
	return kind(c.core.Put().Namespace(c.namespace).Resource("secrets").Name(s.Name).Body(s).Do(ctx).Error(),
		"update secret")
}

// pods returns the pods of a Job.
func (c *Client) pods(ctx context.Context, jobName string) ([]corev1.Pod, error) {
	var out corev1.PodList
	err := c.core.Get().Namespace(c.namespace).Resource("pods").Param("labelSelector", batchv1.JobNameLabel+"="+
		jobName).Do(ctx).Into(&out)
	return out.Items, kind(err, "list pods")
}

// deletePod ends a pod within so many seconds.
func (c *Client) deletePod(ctx context.Context, name string, grace int64) error {
	err := c.core.Delete().Namespace(c.namespace).Resource("pods").Name(name).
		Body(&metav1.DeleteOptions{GracePeriodSeconds: &grace}).Do(ctx).Error()
	return ignoreMissing(kind(err, "delete pod"))
}

// events returns what was said about a Job.
func (c *Client) events(ctx context.Context, jobName string) ([]corev1.Event, error) {
	var out corev1.EventList
	err := c.core.Get().Namespace(c.namespace).Resource("events").
		Param("fieldSelector", "involvedObject.kind=Job,involvedObject.name="+jobName).Do(ctx).Into(&out)
	return out.Items, kind(err, "list events")
}

func ignoreMissing(err error) error {
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	return err
}

// kind wraps an error of the API server in the kind that callers act on. Whatever may pass by
// itself is job.ErrUnavailable: a quota that is used up, a webhook that does not answer, a server
// that is being replaced.
func kind(err error, verb string) error {
	if err == nil {
		return nil
	}
	k := job.ErrUnavailable
	switch {
	case apierrors.IsNotFound(err):
		k = job.ErrNotFound
	case apierrors.IsAlreadyExists(err):
		k = job.ErrExists
	case apierrors.IsConflict(err):
		k = job.ErrConflict
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		k = job.ErrInvalid
	}
	return fmt.Errorf("%s: %w: %w", verb, k, err)
}
