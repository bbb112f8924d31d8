-- example18-sipr.lua: settings for example18.lua. Try it with
--   sipr run -f etc/examples/example18-sipr.lua

local state = env("STATE_DIRECTORY", ".")

listen "udp:127.0.0.1:5060"
listen "tcp:127.0.0.1:5060"

modparam("core", "db_url", "sqlite:" .. state .. "/sipr.db")
modparam("core", "secret_file", state .. "/sipr.secret")
modparam("core", "ctl_socket", state .. "/sipr.sock")

loadmodule "tm"
loadmodule "rr"
loadmodule "domain"
loadmodule "users"
loadmodule "auth"
loadmodule "registrar"

modparam("domain", "load_domain_attrs", 1)

route "example18.lua"
