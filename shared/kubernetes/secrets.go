package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// The operator labels the Secrets that jobs may have, and may say which roles by an annotation, such
// as admin or admin,user.
const (
	namedLabel      = domain + "secret"
	rolesAnnotation = domain + "roles"
)

// metadataOnly asks for the metadata of Secrets and not for their values.
const metadataOnly = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

const secretsPage = 500

var _ secret.Catalog = (*Client)(nil)

// Entries implements secret.Catalog. A Secret whose roles cannot be read is for nobody.
func (c *Client) Entries(ctx context.Context) ([]secret.Entry, error) {
	var entries []secret.Entry
	for next := ""; ; {
		r := c.core.Get().Namespace(c.namespace).Resource("secrets").SetHeader("Accept", metadataOnly).
			Param("labelSelector", namedLabel+"=true").Param("limit", strconv.Itoa(secretsPage))
		if next != "" {
			r = r.Param("continue", next)
		}
		data, err := r.Do(ctx).Raw()
		if err != nil {
			return nil, kind(err, "list secrets")
		}
		var page struct {
			Metadata struct{ Continue string }
			Items    []struct {
				Metadata struct {
					Name        string
					Annotations map[string]string
				}
			}
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		for _, one := range page.Items {
			if secret.IsName(one.Metadata.Name) {
				entries = append(entries, entry(one.Metadata.Name, one.Metadata.Annotations[rolesAnnotation]))
			}
		}
		if next = page.Metadata.Continue; next == "" {
			break
		}
	}
	slices.SortFunc(entries, func(a, b secret.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

// entry returns what a labelled Secret offers.
func entry(name, roles string) secret.Entry {
	e := secret.Entry{Name: name, Keyed: true, Roles: secret.DefaultRoles()}
	if roles == "" {
		return e
	}
	var err error
	if e.Roles, err = secret.ParseRoles(strings.Split(roles, ",")); err != nil {
		e.Roles = nil
	}
	return e
}

// checkSecrets returns why a job cannot have the operator's secrets that it names, or "". Their
// labels may have changed since the job was accepted.
func (l *Launcher) checkSecrets(ctx context.Context, index *job.Index) (message string, err error) {
	set := secret.References(index.Secrets)
	if len(set) == 0 {
		return "", nil
	}
	entries, err := l.secrets.Entries(ctx)
	if err != nil {
		return "", err
	}
	if faults := set.CheckReferences(entries); len(faults) > 0 {
		return (&job.Faults{List: faults}).Error(), nil
	}
	return "", nil
}

// maxSecretBytes bounds the volume by which the agent's container hands secrets to the program's.
// Names and values have 1 MiB together at most, and more as JSON.
const maxSecretBytes = 8 << 20

// namedSecrets lists the Secrets that a job's secrets are from.
func namedSecrets(index *job.Index) []string {
	var names []string
	for _, one := range index.Secrets {
		if one.From != "" {
			names = append(names, secret.Base(one.From))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// secretsMount is the volume by which the agent's container hands secrets to the program's.
func secretsMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: secretsVolume, MountPath: executor.PodSecretsDir}
}

// secretMounts are those of the agent's container. The program's container has only secretsMount.
func secretMounts(index *job.Index) []corev1.VolumeMount {
	if len(index.Secrets) == 0 {
		return nil
	}
	list := []corev1.VolumeMount{secretsMount()}
	for i, name := range namedSecrets(index) {
		list = append(list, corev1.VolumeMount{
			Name: namedVolume + strconv.Itoa(i), MountPath: executor.PodNamedSecrets + "/" + name, ReadOnly: true,
		})
	}
	return list
}

// secretVolumes are the volumes of secretMounts. The Secrets are optional, so that a pod starts
// whose Secret is gone, and its agent can say so.
func secretVolumes(index *job.Index) []corev1.Volume {
	if len(index.Secrets) == 0 {
		return nil
	}
	memory := corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory,
		SizeLimit: resource.NewQuantity(maxSecretBytes, resource.BinarySI)}
	list := []corev1.Volume{{Name: secretsVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &memory}}}
	readable, optional := int32(0o440), true
	for i, name := range namedSecrets(index) {
		list = append(list, corev1.Volume{Name: namedVolume + strconv.Itoa(i),
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName: name, DefaultMode: &readable, Optional: &optional,
			}}})
	}
	return list
}
