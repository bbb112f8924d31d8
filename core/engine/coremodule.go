package engine

import (
	"sipr/core"
)

// coreModule is the module "core": parameters of the router itself, and what a
// script needs before any other module is loaded.
type coreModule struct {
	e        *Engine
	matchers matchers
}

// CoreSpec returns the Spec of the module core, for what is made of Specs
// without a router: reference pages and stubs. Its functions must not be called.
func CoreSpec() core.Spec {
	e := &Engine{}
	e.params.defaults()
	return (&coreModule{e: e}).Describe()
}

// Describe implements core.Module.
func (m *coreModule) Describe() core.Spec {
	return core.Spec{
		Name:    "core",
		Summary: "The router itself: sockets, script, stateless replies and forwarding, header and URI operations.",
		Also:    []string{"sl", "maxfwd", "textops", "textopsx", "siputils", "kex", "corex", "pv", "xlog", "sanity", "ctl", "jsonrpcs", "cfg_rpc", "xhttp", "statistics", "tls", "websocket"},
		Params: append(m.e.params.list(),
			m.e.levelParam("log_level", "string", "what is logged: error, warn, info or debug, or one of Kamailio's numbers -1 to 3; --log-level goes before it", levelName),
			m.e.levelParam("debug", "int", "log_level under Kamailio's name, as a number", levelNumber)),
		Exports:  append(append(append(m.replyExports(), m.headerExports()...), m.uriExports()...), m.testExports()...),
		Commands: m.commands(),
	}
}

// everywhere is where a function may be called that needs only a message.
const everywhere = core.AnyRoute | core.ResponseRoute

func (m *coreModule) replyExports() []core.Export {
	code := core.Int("code", "status code, 100 to 699")
	reason := core.Text("reason", "reason phrase; the code's own if left out").Opt()
	return []core.Export{
		core.Func("sl_reply", m.slReply, "Answers statelessly. An ACK is never answered.", code, reason),
		core.Func("sl_send_reply", m.slReply, "sl_reply under Kamailio's name.", code, reason),
		core.Func("reply", m.reply, "Answers through the transaction if there is one, else statelessly.", code, reason),
		core.Func("send_reply", m.reply, "reply under Kamailio's name.", code, reason),
		core.Func("redirect", m.redirect, "Answers 302, or another 3xx, with the Request-URI and the further destinations as Contacts.",
			core.Int("code", "300 to 399; 302 if left out").Opt(), reason).In(core.RequestRoute | core.FailureRoute),
		core.Func("append_to_reply", m.appendToReply, "Adds a header field to this router's responses to the request.",
			core.Text("header", `"Name: value"`)),
		core.Func("forward", m.forward, "Sends the request on without a transaction (RFC 3261 §16.11): to the Request-URI, its Route or the given URI.",
			core.Text("uri", "where to send it").Opt()).In(core.RequestRoute),
		core.Func("drop", m.drop, "Ends the script. In the request route nothing is answered; in a reply route a provisional response is not forwarded.").In(everywhere),
		core.Func("exit", m.exit, "Ends the script. It is no decision: a request that was neither answered nor sent on gets 500.").In(everywhere),
		core.Func("log", m.log, "Writes a line to the log.", core.String("level", "debug, info, warn or error"), core.Text("text", "the line")).In(everywhere),
		core.Func("xlog", m.log, "log under Kamailio's name.", core.String("level", "debug, info, warn or error"), core.Text("text", "the line")).In(everywhere),
	}
}

func (m *coreModule) headerExports() []core.Export {
	name := core.Text("name", "name of the header field, full or compact")
	value := core.Text("value", "its value")
	line := core.Text("header", `"Name: value"; a line break at its end is taken too`)
	return []core.Export{
		core.Func("append_hf", m.appendHF, "Adds a header field after all others.", line).In(everywhere),
		core.Func("insert_hf", m.insertHF, "Adds a header field before all others.", line).In(everywhere),
		core.Func("set_hf", m.setHF, "Replaces the value of the first header field of that name, or adds one.", name, value).In(everywhere),
		core.Func("replace_hf", m.replaceHF, "Replaces the value of the first header field of that name; false if there is none.", name, value).In(everywhere),
		core.Func("remove_hf", m.removeHF, "Removes every header field of that name; false if there is none.", name).In(everywhere),
		core.Func("search_hf", m.searchHF, "Tells whether a header field of that name matches a regular expression (RE2).",
			core.String("name", "name of the header field"), core.String("pattern", "the expression").Checked(checkPattern)).In(everywhere),
		core.Func("search", m.search, "Tells whether a text matches a regular expression (RE2).",
			core.Text("text", "the text"), core.String("pattern", "the expression").Checked(checkPattern)).In(everywhere),
		core.Func("has_hf", m.hasHF, "Tells whether there is a header field of that name.", name).In(everywhere),
		core.Func("is_present_hf", m.hasHF, "has_hf under Kamailio's name.", name).In(everywhere),
		core.Func("set_body", m.setBody, "Replaces the body.", core.Text("body", "the new body"), core.Text("type", "its Content-Type")).In(everywhere),
	}
}

func (m *coreModule) uriExports() []core.Export {
	n := core.Int("n", "how many characters")
	text := core.Text("text", "the text")
	return []core.Export{
		core.Func("rewriteuri", setPart("uri"), "Replaces the Request-URI.", core.Text("uri", "the new URI")),
		core.Func("seturi", setPart("uri"), "rewriteuri under its other name.", core.Text("uri", "the new URI")),
		core.Func("rewriteuser", setPart("user"), "Replaces the user part of the Request-URI.", core.Text("user", "the new user part")),
		core.Func("setuser", setPart("user"), "rewriteuser under its other name.", core.Text("user", "the new user part")),
		core.Func("rewritehost", setPart("host"), "Replaces the host of the Request-URI.", core.Text("host", "the new host")),
		core.Func("sethost", setPart("host"), "rewritehost under its other name.", core.Text("host", "the new host")),
		core.Func("rewritehostport", setPart("hostport"), "Replaces host and port of the Request-URI.", core.Text("hostport", "host or host:port")),
		core.Func("sethostport", setPart("hostport"), "rewritehostport under its other name.", core.Text("hostport", "host or host:port")),
		core.Func("rewriteport", setPart("port"), "Replaces the port of the Request-URI.", core.Text("port", "the new port")),
		core.Func("setport", setPart("port"), "rewriteport under its other name.", core.Text("port", "the new port")),
		core.Func("strip", m.strip, "Removes the first characters of the user part.", n),
		core.Func("strip_tail", m.stripTail, "Removes the last characters of the user part.", n),
		core.Func("prefix", m.prefix, "Puts a text before the user part.", text),
		core.Func("revert_uri", m.revertURI, "Gives the request its original Request-URI back."),
		core.Func("setdsturi", m.setDstURI, "Sends the request to this URI whatever the Request-URI says.", core.Text("uri", "where to send it")),
		core.Func("resetdsturi", m.resetDstURI, "Undoes setdsturi."),
	}
}

func (m *coreModule) testExports() []core.Export {
	return []core.Export{
		core.Func("maxfwd", m.maxfwd, "False if the request has no hop left. A request without Max-Forwards gets 70 when it is sent on.",
			core.Int("limit", "SER's default for a request without Max-Forwards; accepted").Opt()),
		core.Func("mf_process_maxfwd_header", m.maxfwd, "maxfwd under Kamailio's name.", core.Int("limit", "as for maxfwd").Opt()),
		core.Func("has_totag", m.hasToTag, "Tells whether To has a tag: the sender thinks that there is a dialog.").In(everywhere),
		core.Func("is_method", m.isMethod, "Tells whether the method is one of those named.", core.String("methods", `such as "INVITE|BYE"`)).In(everywhere),
		core.Func("is_myself", m.isMyself, "Tells whether a host, or host:port, is this router.", core.Text("host", "the Request-URI's if left out").Opt()).In(everywhere),
		core.Func("from_loopback", m.fromLoopback, "Tells whether the request came from this machine.").In(everywhere),
		core.Func("setflag", m.setFlag, "Sets one of 32 flags of the request.", core.Int("n", "0 to 31")),
		core.Func("resetflag", m.resetFlag, "Clears a flag.", core.Int("n", "0 to 31")),
		core.Func("isflagset", m.isFlagSet, "Tells whether a flag is set.", core.Int("n", "0 to 31")),
	}
}
