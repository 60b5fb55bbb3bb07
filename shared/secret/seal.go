package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// The purposes keep what is sealed here, and the codes, apart from all others under the same keys.
const (
	sealPurpose  = "secrets/v1"
	printPurpose = "secrets/fingerprint/v1"
)

// Seal returns the user's texts as they may be stored for one job, or nil if there are none.
func (s Set) Seal(keys token.Keys, id job.ID) ([]byte, error) {
	own := s.own()
	if len(own) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(own)
	if err != nil {
		return nil, errors.New("secrets cannot be encoded") // the error could have a part of one
	}
	return keys.Seal(text, sealPurpose, string(id))
}

// HasOwn reports whether a job has secrets of its user's, whose values are sealed in the bucket.
func HasOwn(records []job.Secret) bool {
	return slices.ContainsFunc(records, func(one job.Secret) bool { return one.From == "" })
}

// Open returns the values of the user's secrets of a job. They must be exactly those that its index
// names. No error has a part of a value.
func Open(sealed []byte, keys token.Keys, index *job.Index) (map[string]string, error) {
	text, err := keys.Open(sealed, sealPurpose, string(index.JobID))
	if err != nil {
		return nil, fmt.Errorf("open the secrets: %w", err)
	}
	var values map[string]string
	if json.Unmarshal(text, &values) != nil {
		return nil, errors.New("open the secrets: they are not in the format of this version")
	}
	var want []string
	for _, one := range index.Secrets {
		if one.From == "" {
			want = append(want, one.Name)
		}
	}
	if !slices.Equal(slices.Sorted(maps.Keys(values)), slices.Sorted(slices.Values(want))) {
		return nil, errors.New("open the secrets: they are not those that the job's record names")
	}
	return values, nil
}

// Fingerprints returns a code of the secrets under each token key, that of the newest first. A
// code tells nothing of the values to those who do not have the keys. It is nil without secrets.
func (s Set) Fingerprints(keys token.Keys) []string {
	if len(s) == 0 {
		return nil
	}
	return keys.Codes(printPurpose, s.parts()...)
}
