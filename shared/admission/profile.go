package admission

import (
	"context"
	"fmt"
	"strconv"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
)

// openProfiles opens the profiles, unless the process has opened them already, and has them checked
// against the server's own bounds.
func (c *Controller) openProfiles(d Deps) (err error) {
	if c.profiles = d.Profiles; c.profiles == nil {
		if c.profiles, err = profile.Open(d.Env, c.checkProfiles); err != nil {
			return err
		}
		return nil
	}
	return c.profiles.Require(c.checkProfiles)
}

// checkProfiles finds defaults of profiles that no job could have.
func (c *Controller) checkProfiles(s *profile.Set) []job.Fault {
	var list []job.Fault
	for _, p := range s.All() {
		for _, bound := range c.Settings.under(p).all() {
			usual, wrong := bound.read(bound.usual)
			most, wrongToo := bound.read(bound.most)
			if unset(bound.usual) || unset(bound.most) || wrong != "" || wrongToo != "" || usual <= most {
				continue
			}
			list = append(list, job.Fault{Field: "profiles." + p.Name + ".defaults." + bound.field, Message: fmt.Sprintf(
				"%s is more than a job may ask for, %s (%s)", bound.usual, bound.most, origin(p, bound))})
		}
	}
	return list
}

// profileFault says why the caller cannot use the profile that a job names. Without a caller there is
// no profile to use.
func (c *Controller) profileFault(ctx context.Context, spec *job.Spec) []job.Fault {
	if spec.Profile == "" || job.CheckProfileName(spec.Profile) != "" { // which is a fault already
		return nil
	}
	caller, _ := access.From(ctx)
	message := c.profiles.Current().Check(spec.Profile, caller.Role)
	if message == "" {
		return nil
	}
	return []job.Fault{{Field: "profile", Message: message}}
}

// fill gives a job the default profile if it names none, and the defaults of what it does not ask for.
func (c *Controller) fill(spec job.Spec) job.Spec {
	p := c.profiles.Current().Of(&spec)
	if p != nil {
		spec.Profile = p.Name
	}
	return c.Settings.under(p).fill(spec)
}

// under returns the bounds of a profile's jobs. What the profile does not set is as for other jobs. p
// may be nil.
func (b Bounds) under(p *profile.Profile) Bounds {
	if p == nil {
		return b
	}
	b.DefaultMemory, b.MaxMemory = replace(b.DefaultMemory, b.MaxMemory, string(p.Defaults.Memory),
		string(p.Max.Memory), job.Bytes)
	b.DefaultCPU, b.MaxCPU = replace(b.DefaultCPU, b.MaxCPU, string(p.Defaults.CPU), string(p.Max.CPU), job.MilliCPU)
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	usual, most := replace(number(b.DefaultTimeout), number(b.MaxTimeout), number(p.Defaults.TimeoutSeconds),
		number(p.Max.TimeoutSeconds), seconds)
	b.DefaultTimeout, _ = strconv.ParseInt(usual, 10, 64) // 0 for ""
	b.MaxTimeout, _ = strconv.ParseInt(most, 10, 64)
	return b
}

// replace returns the default and the maximum of a profile where it has them, else those of the server.
// The server's default is left out if it is more than the profile's maximum, which is the default then.
func replace(
	usual, most, profileUsual, profileMost string, read func(string) (amount int64, message string),
) (newUsual, newMost string) {
	if !unset(profileMost) {
		most = profileMost
	}
	if !unset(profileUsual) {
		return profileUsual, most
	}
	if !unset(usual) && !unset(profileMost) {
		amount, _ := read(usual) // both were checked
		limit, _ := read(most)
		if amount > limit {
			return "", most
		}
	}
	return usual, most
}

// origin says what sets the maximum of a bound.
func origin(p *profile.Profile, b bound) string {
	if p != nil && (b.field == "memory" && p.Max.Memory != "" || b.field == "cpu" && p.Max.CPU != "" ||
		b.field == "timeoutSeconds" && p.Max.TimeoutSeconds != 0) {
		return "profile " + p.Name
	}
	return "MAX_" + b.setting
}

// keptProfile says why a job cannot have its profile, if it comes with the one saved from a template
// or from the job that it repeats.
func (c *Controller) keptProfile(ctx context.Context, saved string, spec *job.Spec) []job.Fault {
	if spec.Profile == "" || spec.Profile != saved {
		return c.profileFault(ctx, spec)
	}
	if c.profiles.Current().Find(saved) == nil {
		return []job.Fault{{Field: "profile", Message: fmt.Sprintf(
			"the profile %s does not exist any more; name another, or save the template with another", saved)}}
	}
	return nil
}
