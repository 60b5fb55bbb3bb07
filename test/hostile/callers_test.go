package hostile

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// listOwnerRows ask for what others have.
func listOwnerRows() []row {
	var rows []row
	for _, path := range []string{"/api/v1/jobs", "/api/v1/templates"} {
		for _, owner := range []string{mine, "root", "local", "nosuch"} {
			rows = append(rows, refused(403, "owner", path+" of "+owner, get(path+"?owner="+owner).by(theirs)))
		}
		rows = append(rows, refused(403, "owner", path+" of another, by a reader", get(path+"?owner="+theirs).by(reader)),
			refused(401, "", path+" by nobody", get(path+"?owner="+mine).by(nobody)))
		for _, caller := range []string{theirs, admin} {
			for _, query := range []string{
				"owner=", "owner=%00", "owner=a%0Ab", "owner=%22", "owner=a%5Cb", "owner=%3Cx%3E", "owner=%7F",
				"owner=" + strings.Repeat("a", 256), "owner=" + caller + "&owner=" + mine, "Owner=" + mine, "owner[]=" + mine,
				"user=" + mine, "caller=" + mine, "owner=%C3%BC", "owner=a%20OR%201", "createdBy=" + mine,
			} {
				rows = append(rows, refused(400, "", path+" by "+caller+", "+query, get(path+"?"+query).by(caller)))
			}
		}
	}
	return rows
}

// shareRows ask for shared tokens that nobody may have.
func shareRows(h *house) []row {
	share := func(body string) request {
		return request{method: http.MethodPost, target: h.done.path() + "/share", body: body,
			header: []string{"Content-Type: application/json"}}
	}
	var rows []row
	for _, value := range []string{"0s", "59s", "-1h", "721h", "31d", "9999999d", "1e9h", "x", "1", "1h1", "NaN",
		"\\u0000"} {
		rows = append(rows, refused(422, "expiresIn", "share for "+value, share(`{"expiresIn":"`+value+`"}`)))
	}
	for _, body := range []string{"x", "[]", "1", `"1h"`, `{"expiresIn":1}`, `{"expiresInSeconds":3600}`, `{"expiresIn":`,
		`{"role":"admin"}`, `{"jobID":"` + string(h.other.ID) + `"}`, `{}{}`, strings.Repeat("[", 100_000),
		`{"expiresIn":"` + strings.Repeat("1", 10_000) + `h"}`} {
		rows = append(rows, refused(400, "body", fmt.Sprintf("share with %.30q", body), share(body)))
	}
	return append(rows, refused(404, "", "share another's", share("").by(theirs)),
		refused(403, "", "share as a reader", share("").by(reader)),
		refused(403, "", "share with a shared token", share("").with(bearer(h.shared))),
		refused(403, "", "share with another job's token", share("").with(bearer(h.other.Token))))
}

// lists demands that each caller finds their own and no other's, whatever they ask for.
func lists(g *group, h *house) {
	ids := func(caller, query string) []string {
		var page struct {
			Items []struct{ JobID, Name, Owner string }
		}
		path := "/api/v1/jobs?limit=100&"
		if rest, templates := strings.CutPrefix(query, "templates"); templates {
			path, query = "/api/v1/templates?limit=100&", rest
		}
		g.server.must(g.T, http.StatusOK, get(path+query).by(caller), &page)
		list := make([]string, len(page.Items))
		for i, item := range page.Items {
			list[i] = item.JobID + item.Name
		}
		return list
	}
	for name, test := range map[string]struct {
		caller, query string
		has, hasNot   string
	}{
		"mine":                       {mine, "", string(h.done.ID), string(h.other.ID)},
		"theirs":                     {theirs, "", string(h.other.ID), string(h.done.ID)},
		"a reader":                   {reader, "", string(h.done.ID), string(h.other.ID)},
		"a reader by name":           {reader, "owner=" + mine, string(h.done.ID), string(h.other.ID)},
		"an admin":                   {admin, "", string(h.done.ID), ""},
		"an admin for theirs":        {admin, "owner=" + theirs, string(h.other.ID), string(h.done.ID)},
		"an admin for nobody":        {admin, "owner=nosuch", "", string(h.done.ID)},
		"theirs, from mine on":       {theirs, "pageToken=" + string(h.running.ID), "", string(h.done.ID)},
		"theirs, of my template":     {theirs, "label=go-job-orchestrator/template%3Dmine", "", string(h.owned)},
		"theirs, that run":           {theirs, "phase=Running", "", string(h.running.ID)},
		"my templates":               {mine, "templates", "mine", "theirs"},
		"their templates":            {theirs, "templates", "theirs", "mine"},
		"their templates, before":    {theirs, "templatespageToken=a", "theirs", "mine"},
		"a reader's templates":       {reader, "templates", "mine", "theirs"},
		"an admin's templates":       {admin, "templates", "theirs", ""},
		"templates of one, by admin": {admin, "templatesowner=" + mine, "mine", "theirs"},
	} {
		g.try("list: "+name, func(fail func(string, ...any)) {
			got := ids(test.caller, test.query)
			if test.has != "" && !slices.Contains(got, test.has) || test.hasNot != "" && slices.Contains(got, test.hasNot) {
				fail("it has %q; want %s in it and not %s", got, test.has, test.hasNot)
			}
		})
	}
}

// identities demands that each caller is who their key says, whatever else they say.
func identities(g *group) {
	for caller, want := range map[string]string{mine: "mine user", theirs: "theirs user", reader: "mine read",
		admin: "root admin"} {
		for name, header := range map[string]string{
			"nothing more": "X: y", "an assertion": "Gojob-Assertion: x", "a user": "X-Forwarded-User: root",
			"a cookie": "Cookie: owner=root", "another key in another header": "X-Api-Key: " + g.s.callers[admin],
		} {
			g.try("who am I: "+caller+" with "+name, func(fail func(string, ...any)) {
				var who struct{ Owner, Role string }
				a, err := g.server.send(get("/api/v1/whoami?owner=root", header).by(caller))
				if err == nil && a.status != http.StatusOK {
					a, err = g.server.send(get("/api/v1/whoami", header).by(caller))
				}
				if err != nil || parse(a.body, &who) != nil || who.Owner+" "+who.Role != want {
					fail("%s %v, want %s", brief(a), err, want)
				}
			})
		}
	}
}
