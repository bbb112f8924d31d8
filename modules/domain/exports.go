package domain

import (
	"context"
	"errors"
	"fmt"

	"sipr/core"
	"sipr/core/sipmsg"
)

// didAttr is the attribute that carries a virtual domain's identifier.
const didAttr = "did"

// The second results of a call that answers false.
const (
	whyForeign = "foreign"
	whyEmpty   = "empty"
)

func (m *Module) exports() []core.Export {
	const local = core.RequestRoute | core.FailureRoute | core.BranchRoute
	domain := core.Text("domain", "a domain name or IP address, without port")
	return []core.Export{
		core.Func("is_local", m.isLocal,
			"Tells whether a name belongs to a virtual domain. No attributes change.", domain).In(local),
		core.Func("lookup_domain", m.lookupDomain,
			"Finds the virtual domain of a name and makes its did and attributes visible in a group; those of an earlier lookup go, also if there is no such domain.",
			core.AttrName("attr_group", "$fd, the caller's domain, or $td, the callee's").Checked(checkGroup), domain).
			In(core.RequestRoute | core.FailureRoute),
		core.Func("is_domain_local", m.isLocal, "Kamailio's name of is_local.", domain).In(local),
		core.Func("is_uri_host_local", m.isURIHostLocal,
			"Tells whether the host of the Request-URI belongs to a virtual domain.").In(local),
		core.Func("is_from_local", m.isFromLocal,
			"Tells whether the host of the From URI belongs to a virtual domain.").In(local),
	}
}

func (m *Module) isLocal(r *core.Request, a *core.Args) core.Result {
	return m.local(r, a.Bytes(0))
}

func (m *Module) isURIHostLocal(r *core.Request, _ *core.Args) core.Result {
	u, err := r.Msg.RURI()
	return m.localURI(r, u, err)
}

func (m *Module) isFromLocal(r *core.Request, _ *core.Args) core.Result {
	u, err := r.Msg.FromURI()
	return m.localURI(r, u, err)
}

func (m *Module) localURI(r *core.Request, u *sipmsg.URI, err error) core.Result {
	if err != nil {
		return core.False("invalid")
	}
	return m.local(r, u.Host)
}

func (m *Module) local(r *core.Request, host []byte) core.Result {
	if len(host) == 0 {
		return core.False(whyEmpty)
	}
	_, ok, err := m.Lookup(r, host)
	switch {
	case err != nil:
		return core.Fail(err)
	case !ok:
		return core.False(whyForeign)
	}
	return core.True
}

func (m *Module) lookupDomain(r *core.Request, a *core.Args) core.Result {
	group := a.Value(0)
	track, ok := groupTrack(group.Str)
	if group.Raw != nil {
		track, ok = groupTrack(group.Raw)
	}
	if !ok {
		return core.Fail(checkGroup(group.String()))
	}
	host := a.Bytes(1)
	if !m.cached() {
		return m.askLookup(r, track, host)
	}
	v := m.find(host)
	if v == nil {
		r.Attrs.Publish(track, core.DomainClass, nil)
		if len(host) == 0 {
			return core.False(whyEmpty)
		}
		return core.False(whyForeign)
	}
	r.Attrs.Publish(track, core.DomainClass, v.set)
	return core.True
}

// find looks a name up in the cache.
func (m *Module) find(host []byte) *virtual { return m.current.Load().find(host) }

// askLookup is apart from lookupDomain because what a closure captures would
// be allocated in cache mode too.
func (m *Module) askLookup(r *core.Request, track core.Track, host []byte) core.Result {
	var set *core.AttrSet
	if len(host) > 0 {
		err := r.Wait("domain lookup", func(ctx context.Context) error {
			did, found, err := m.store.findDID(ctx, host)
			if err != nil || !found {
				return err
			}
			set, err = m.store.attrsOf(ctx, did)
			return err
		})
		if err != nil {
			return core.Fail(err)
		}
	}
	r.Attrs.Publish(track, core.DomainClass, set)
	switch {
	case set != nil:
		return core.True
	case len(host) == 0:
		return core.False(whyEmpty)
	}
	return core.False(whyForeign)
}

// groupTrack returns the track of "$fd" or "$td", in any letter case.
func groupTrack[T ~string | ~[]byte](group T) (core.Track, bool) {
	switch {
	case sipmsg.EqualFold(group, "$fd"):
		return core.FromTrack, true
	case sipmsg.EqualFold(group, "$td"):
		return core.ToTrack, true
	}
	return 0, false
}

// checkGroup judges lookup_domain's first argument when the script is loaded.
// The texts are SER's, which operators search for.
func checkGroup(group string) error {
	if _, ok := groupTrack(group); ok {
		return nil
	}
	if len(group) != 3 || group[0] != '$' {
		//lint:ignore ST1005 the text is SER's own
		return errors.New("Invalid parameter value, $xy expected")
	}
	//lint:ignore ST1005 the text is SER's own
	return fmt.Errorf("Invalid parameter value: '%s'; $fd or $td is expected", group)
}
