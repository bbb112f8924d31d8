package core_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sipr/core"
)

func ref(t testing.TB, s string) *core.AttrRef {
	t.Helper()
	r, err := core.ParseAttrRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

// set makes a set of texts such as "gw=a gw=b n=#5".
func set(text string) *core.AttrSet {
	var attrs []core.Attr
	for _, f := range strings.Fields(text) {
		name, v, _ := strings.Cut(f, "=")
		val := core.TextValue(v)
		if n, ok := strings.CutPrefix(v, "#"); ok {
			num, _ := core.TextValue(n).Int()
			val = core.IntValue(num)
		}
		attrs = append(attrs, core.Attr{Name: name, Value: val})
	}
	return core.NewAttrSet(attrs)
}

func read(t testing.TB, a *core.Attrs, name string) string {
	t.Helper()
	v, ok := a.Get(ref(t, name))
	if ok != (v.Kind != core.KindNil) {
		t.Errorf("%s: %v but %v", name, v, ok)
	}
	if !ok {
		return "-"
	}
	return v.String()
}

func all(t testing.TB, a *core.Attrs, name string) string {
	t.Helper()
	var parts []string
	for _, v := range a.Values(nil, ref(t, name)) {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, " ")
}

// layers publishes attribute x in all four layers of a track, with several
// values each.
func layers(t core.Track) *core.Attrs {
	a := &core.Attrs{}
	a.Publish(t, core.URIClass, set("x=r1 x=r2"))
	a.Publish(t, core.UserClass, set("x=u1 x=u2 x=u3 onlyu=1"))
	a.Publish(t, core.DomainClass, set("did=iptel x=d1"))
	a.Publish(t, core.GlobalClass, set("x=g1 onlyg=g"))
	return a
}

func TestS2_050_TracksAndClasses(t *testing.T) {
	a := &core.Attrs{}
	for i, group := range []string{"fr", "fu", "fd", "tr", "tu", "td", "g"} {
		if err := a.Set(ref(t, "$"+group+".x"), core.IntValue(int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i, group := range []string{"fr", "Fu", "fD", "tr", "tu", "TD", "g"} {
		if got := read(t, a, "$"+group+".x"); got != fmt.Sprint(i) {
			t.Errorf("$%s.x is %s", group, got)
		}
	}
	for name, want := range map[string]string{"$f.x": "0", "$t.x": "3", "$x": "0", "$gf.x": "6", "$gt.x": "6"} {
		if got := read(t, a, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestS2_051_SearchOrder(t *testing.T) {
	for _, track := range []core.Track{core.FromTrack, core.ToTrack} {
		a, f := layers(track), "ft"[track:track+1]
		for _, layer := range []struct{ class, newest, values string }{
			{"r", "r2", "r1 r2"}, {"u", "u3", "u1 u2 u3"}, {"d", "d1", "d1"}, {"g", "g1", "g1"}, {"", "-", ""},
		} {
			if got := read(t, a, "$"+f+".x"); got != layer.newest {
				t.Errorf("$%s.x is %s, want %s", f, got, layer.newest)
			}
			if got := all(t, a, "$"+f+".x[]"); got != layer.values {
				t.Errorf("values of two classes are mixed: %s, want %s", got, layer.values)
			}
			switch layer.class {
			case "r":
				if got := read(t, a, "$"+f+".x[3]"); got != "-" {
					t.Errorf("the search left the first class that has the name: %s", got)
				}
				a.Publish(track, core.URIClass, nil)
			case "u":
				a.Publish(track, core.UserClass, nil)
			case "d":
				a.Publish(track, core.DomainClass, nil)
			case "g":
				a.Publish(track, core.GlobalClass, nil)
			}
		}
	}
	a := layers(core.ToTrack)
	if got := read(t, a, "$t.did"); got != "iptel" {
		t.Errorf("$t.did is %s", got)
	}
	if got := read(t, a, "$f.did"); got != "-" {
		t.Errorf("$f.did is %s", got)
	}
}

func TestS2_052_WritesAreTheRequestsOwn(t *testing.T) {
	shared := set("x=d1 x=d2 y=#5")
	var a, b core.Attrs
	a.Publish(core.ToTrack, core.DomainClass, shared)
	b.Publish(core.ToTrack, core.DomainClass, shared)
	must(t, a.Set(ref(t, "$td.x"), core.TextValue("mine")))
	must(t, a.Add(ref(t, "$td.y"), core.IntValue(6)))
	must(t, a.Set(ref(t, "$x"), core.TextValue("bare")))
	for name, want := range map[string]string{
		"$td.x": "mine", "$td.x[1]": "mine", "$td.x[2]": "-", "$td.y": "6", "$td.y[1]": "5", "$td.y[-2]": "5",
		"$fr.x": "bare", "$f.x": "bare", "$t.x": "mine",
	} {
		if got := read(t, &a, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"$td.x": "d2", "$td.x[1]": "d1", "$td.y": "5", "$f.x": "-"} {
		if got := read(t, &b, name); got != want {
			t.Errorf("another request sees %s in %s", got, name)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 { // of use under -race
		wg.Add(1)
		go func() {
			defer wg.Done()
			var c core.Attrs
			for range 200 {
				c.Reset()
				c.Publish(core.ToTrack, core.DomainClass, shared)
				c.Add(ref(t, "$td.x"), core.IntValue(int64(i)))
				c.SetFlags(ref(t, "$td.x[]"), core.AttrCookie, true)
				if got := read(t, &c, "$td.x"); got != fmt.Sprint(i) {
					t.Errorf("%d reads %s", i, got)
				}
				if got := read(t, &c, "$td.x[2]"); got != "d2" {
					t.Errorf("%d reads %s", i, got)
				}
			}
		}()
	}
	wg.Wait()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestS2_053_OrderAndIndices(t *testing.T) {
	small := set("gw=a,b:c gw=two")
	var many []core.Attr
	for i := range 30 {
		many = append(many, core.Attr{Name: fmt.Sprintf("n%02d", 29-i), Value: core.IntValue(int64(i))})
	}
	many = append(many, small.All()...)
	large := core.NewAttrSet(many)
	for _, s := range []*core.AttrSet{small, large} {
		var a core.Attrs
		a.Publish(core.FromTrack, core.DomainClass, s)
		for name, want := range map[string]string{
			"$fd.gw": "two", "$fd.gw[1]": "a,b:c", "$fd.gw[2]": "two", "$fd.gw[3]": "-", "$fd.gw[-1]": "two",
			"$fd.gw[-2]": "a,b:c", "$fd.gw[-3]": "-", "$f.gw[1]": "a,b:c", "$gw": "two", "$fd.none[1]": "-", "$fd.gv": "-", "$fd.zz": "-",
		} {
			if got := read(t, &a, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		if got := all(t, &a, "$fd.gw[]"); got != "a,b:c two" {
			t.Errorf("all: %s", got)
		}
	}
	for i := range 30 {
		var a core.Attrs
		a.Publish(core.FromTrack, core.DomainClass, large)
		if got := read(t, &a, fmt.Sprintf("$fd.n%02d", i)); got != fmt.Sprint(29-i) {
			t.Errorf("n%02d is %s", i, got)
		}
	}
}

func TestRemove(t *testing.T) {
	a := layers(core.FromTrack)
	must(t, a.Remove(ref(t, "$fu.x[2]")))
	if got := all(t, a, "$fu.x[]"); got != "u1 u3" {
		t.Errorf("without the second: %s", got)
	}
	must(t, a.Add(ref(t, "$fu.x"), core.TextValue("u4")))
	must(t, a.Remove(ref(t, "$fu.x[1]")))
	must(t, a.Remove(ref(t, "$fu.x[1]")))
	if got := all(t, a, "$fu.x[]"); got != "u4" {
		t.Errorf("only what was added: %s", got)
	}
	must(t, a.Remove(ref(t, "$fu.x[-1]")))
	if got := all(t, a, "$fu.x[]"); got != "" {
		t.Errorf("none: %s", got)
	}
	must(t, a.Remove(ref(t, "$fr.x")))
	if got := read(t, a, "$f.x"); got != "d1" {
		t.Errorf("URI and user removed: %s", got)
	}
	must(t, a.Set(ref(t, "$f.x"), core.Value{}))
	if got := read(t, a, "$f.x"); got != "-" {
		t.Errorf("removed without a class: %s", got)
	}
	if got := read(t, a, "$fu.onlyu"); got != "1" {
		t.Errorf("another attribute went: %s", got)
	}
	a.Publish(core.FromTrack, core.UserClass, set("x=again"))
	if got := read(t, a, "$f.x"); got != "again" {
		t.Errorf("a set that is published is hidden: %s", got)
	}
	// One that was written hides the shared ones, also when it goes.
	must(t, a.Set(ref(t, "$fu.x"), core.TextValue("one")))
	must(t, a.Add(ref(t, "$fu.x"), core.TextValue("two")))
	must(t, a.Remove(ref(t, "$fu.x[1]")))
	if got := all(t, a, "$fu.x[]"); got != "two" {
		t.Errorf("hidden values are back: %s", got)
	}
}

func TestFlags(t *testing.T) {
	a := layers(core.FromTrack)
	if a.HasFlag(core.AttrCookie) {
		t.Error("a flag from nowhere")
	}
	must(t, a.Add(ref(t, "$fu.x"), core.TextValue("u4")))
	for _, step := range []struct {
		name string
		on   bool
		n    int
		want string
	}{
		{"$fu.x", true, 1, "u4"}, {"$fu.x[1]", true, 1, "u1 u4"}, {"$fu.x[]", true, 4, "u1 u2 u3 u4"},
		{"$fu.x", false, 1, "u1 u2 u3"}, {"$fu.none", true, 0, "u1 u2 u3"}, {"$fu.x[9]", true, 0, "u1 u2 u3"}, {"$fu.x[]", false, 4, ""},
	} {
		n, err := a.SetFlags(ref(t, step.name), core.AttrCookie, step.on)
		must(t, err)
		var got []string
		a.EachFlagged(core.AttrCookie, func(tr core.Track, c core.Class, at *core.Attr) bool {
			if tr != core.FromTrack || c != core.UserClass {
				t.Errorf("%v %v", tr, c)
			}
			got = append(got, at.Value.String())
			return true
		})
		if n != step.n || strings.Join(got, " ") != step.want {
			t.Errorf("%s %v: %d %s, want %d %s", step.name, step.on, n, got, step.n, step.want)
		}
		if a.HasFlag(core.AttrCookie) != (step.want != "") {
			t.Error("HasFlag")
		}
	}
	if got := all(t, a, "$fu.x[]"); got != "u1 u2 u3 u4" {
		t.Errorf("the values have changed: %s", got)
	}
	shared := core.NewAttrSet([]core.Attr{{Name: "y", Value: core.IntValue(1), Flags: core.AttrCookie}})
	a.Publish(core.ToTrack, core.DomainClass, shared)
	if at, ok := a.GetAttr(ref(t, "$t.y")); !ok || at.Flags != core.AttrCookie || !a.HasFlag(core.AttrCookie) {
		t.Errorf("flags of a shared value: %v", at)
	}
}

func TestValuesOwnTheirMemory(t *testing.T) {
	var a core.Attrs
	b := []byte("hello")
	must(t, a.Set(ref(t, "$x"), core.RawValue(b)))
	copy(b, "XXXXX")
	for i := range 100 {
		must(t, a.Set(ref(t, fmt.Sprintf("$y%d", i)), core.RawValue([]byte("some text"))))
	}
	if got := read(t, &a, "$x"); got != "hello" {
		t.Errorf("the value is %s", got)
	}
	a.Reset()
	if got := read(t, &a, "$x"); got != "-" {
		t.Errorf("after Reset: %s", got)
	}
}

func TestOverlayIsBounded(t *testing.T) {
	var a core.Attrs
	var err error
	for i := 0; i < 10000 && err == nil; i++ {
		err = a.Add(ref(t, "$x"), core.IntValue(int64(i)))
	}
	if err == nil {
		t.Error("no bound on the number")
	}
	must(t, a.Set(ref(t, "$x"), core.IntValue(1)))
	err = nil
	for i := 0; i < 100 && err == nil; i++ {
		err = a.Set(ref(t, "$y"), core.RawValue(make([]byte, 1000)))
	}
	if err == nil {
		t.Error("no bound on the text")
	}
}

func TestBadNames(t *testing.T) {
	for _, s := range []string{"", "$", "f.x", "$fx.y", "$fd.", "$fd.x[0]", "$fd.x[a]", "$fd.x[1", "$fd.x y", "$a$b", "$fd." + strings.Repeat("x", 65)} {
		if r, err := core.ParseAttrRef(s); err == nil {
			t.Errorf("%q is taken as %v", s, r)
		}
	}
	for _, s := range []string{"$fd.did", "$t.x[2]", "$gw", "$g.x[-1]", "$fu.y[]"} {
		r := ref(t, s)
		again, err := core.ParseAttrRef(r.String())
		if err != nil || again != *r {
			t.Errorf("%s is %s", s, r.String())
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	a := layers(core.FromTrack)
	must(t, a.Set(ref(t, "$fr.own"), core.TextValue("1")))
	for _, name := range []string{"$f.x", "$f.onlyg", "$fd.x[1]", "$f.x[-2]", "$g.none", "$f.own"} {
		r := ref(t, name)
		if n := testing.AllocsPerRun(100, func() { a.Get(r) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	r, v := ref(t, "$td.y"), core.RawValue([]byte("text"))
	if n := testing.AllocsPerRun(100, func() { a.Reset(); a.Set(r, v) }); n != 0 {
		t.Errorf("writing: %v allocations", n)
	}
}

func BenchmarkAttrs(b *testing.B) {
	a := layers(core.FromTrack)
	for _, bm := range []struct{ name, ref string }{
		{"class", "$fd.x"}, {"first of four layers", "$f.x"}, {"last of four layers", "$f.onlyg"}, {"index", "$fu.x[2]"}, {"none", "$f.none"},
	} {
		r := ref(b, bm.ref)
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				a.Get(r)
			}
		})
	}
	must(b, a.Set(ref(b, "$fr.own"), core.TextValue("1")))
	b.Run("above an overlay", func(b *testing.B) {
		r := ref(b, "$f.onlyg")
		for range b.N {
			a.Get(r)
		}
	})
	b.Run("reset", func(b *testing.B) {
		for range b.N {
			a.Reset()
		}
	})
}
