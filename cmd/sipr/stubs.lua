---@meta

-- What a routing script of sipr sees. Made by sipr stubs for the Lua language
-- server; it is never run.

---Text for an argument that takes values of the message too: a literal, a
---select such as "@ruri.host" or an attribute such as "$fd.did".
---@alias sipr.text string|number|boolean|nil

---A value of an attribute.
---@alias sipr.value string|integer|boolean|nil

---A SIP URI. Only the Request-URI, ruri, can be written.
---@class sipr.uri
---@field user string?
---@field password string?
---@field host string?
---@field port integer? nil where the URI names none
---@field hostport string? host and port, the default one if the URI names none
---@field type string? the scheme
---@field transport string?
---@field params table<string, string?> parameters by name

---@class sipr.address
---@field uri sipr.uri
---@field name string? the display name
---@field tag string?
---@field params table<string, string?>

---@class sipr.contact
---@field uri sipr.uri
---@field name string?
---@field params table<string, string?>
---@field q string?
---@field expires string?
---@field methods string?

---@class sipr.via
---@field host string?
---@field port integer?
---@field branch string?
---@field transport string?
---@field received string?

---@class sipr.cseq
---@field num integer?
---@field method string?

---@class sipr.msg
---@field header table<string, string?> the first header field of a name
---@field body string?
---@field len integer size in bytes

---@class sipr.peer
---@field ip string
---@field port integer
---@field proto string UDP or TCP

---The Request-URI.
---@type sipr.uri
ruri = {}

---From of the request; in a reply route of the response.
---@type sipr.address
from = {}

---To of the request; in a reply route of the response.
---@type sipr.address
to = {}

---The first Contact.
---@type sipr.contact
contact = {}

---The topmost Via.
---@type sipr.via
via = {}

---@type sipr.cseq
cseq = {}

---@type sipr.msg
msg = {}

---Where the request came from.
---@type sipr.peer
src = {}

---The local address that the request came to.
---@type sipr.peer
dst = {}

---Whose credentials were accepted (user, realm, uid, did); nil before. The
---functions of module auth are its fields too.
---@class sipr.auth
---@field user string?
---@field realm string?
---@field uid string?
---@field did string?
auth = {}

---The method of the request.
---@type string
method = ""

---@type string?
call_id = nil

---The status code of the response; nil outside of reply and failure routes.
---@type integer?
status = nil

---The reason phrase of the response.
---@type string?
reason = nil

---Where the request goes whatever its Request-URI says; can be written.
---@type string?
dst_uri = nil

---The value of Max-Forwards.
---@type string?
max_forwards = nil

---Attributes by group: f and t are searched in all classes, fr and tr are of
---the URI, fu and tu of the user, fd and td of the domain, g is global.
---@class sipr.attr
---@field f table<string, sipr.value>
---@field fr table<string, sipr.value>
---@field fu table<string, sipr.value>
---@field fd table<string, sipr.value>
---@field t table<string, sipr.value>
---@field tr table<string, sipr.value>
---@field tu table<string, sipr.value>
---@field td table<string, sipr.value>
---@field g table<string, sipr.value>
attr = {}

---Data that all requests share.
---@class sipr.shared
shared = {}

---@param key string
---@return sipr.value
function shared.get(key) end

---@param key string
---@param value sipr.value nil removes the entry
---@param seconds? number how long it stays; for ever if left out or 0
function shared.set(key, value, seconds) end

---Adds to a number and returns the sum.
---@param key string
---@param n? integer 1 if left out
---@param seconds? number how long a new entry stays
---@return integer
function shared.add(key, n, seconds) end

---Calls a function and returns its results, or nil and a message if it failed.
---@param f function
---@param ... any
---@return any
---@return string? message
function try(f, ...) end

---Tells whether a value is missing or "".
---@param v any
---@return boolean
function strempty(v) end

---Tells whether a value is there.
---@param v any
---@return boolean
function defined(v) end

---The length of a value as text; 0 if it is missing.
---@param v any
---@return integer
function strlen(v) end

-- Settings only (sipr.lua).

---Listens on an address: "udp:127.0.0.1:5060", or a table with the address
---first and options after it.
---@param address string|table
function listen(address) end

---@param name string
function loadmodule(name) end

---@param module string
---@param name string
---@param value string|integer|boolean
function modparam(module, name, value) end

---Names the routing script.
---@param file string
function route(file) end

---An environment variable, or the default.
---@param name string
---@param default? string
---@return string
function env(name, default) end
