-- sipr.lua: the router under measurement: etc/route.lua byte for byte as
-- shipped, registrations in memory, the generator's addresses trusted unless
-- the mode is regauth.
local state = env("BENCH_STATE")

listen { "udp:" .. env("BENCH_LISTEN", "127.0.77.10:5099") }
modparam("core", "db_url", "sqlite:" .. state .. "/sipr.db")
modparam("core", "secret_file", state .. "/sipr.secret")
modparam("core", "ctl_socket", state .. "/sipr.sock")

loadmodule "tm"
loadmodule "rr"
loadmodule "domain"
loadmodule "users"
loadmodule "auth"
loadmodule "permissions"
loadmodule "registrar"
loadmodule "gateway"
loadmodule "acc"
modparam("domain", "load_domain_attrs", 1)
modparam("registrar", "db_mode", 0)
modparam("acc", "accounting", "off") -- Kamailio's script in this comparison has none either
if env("BENCH_TRUST", "1") == "1" then
  modparam("permissions", "trusted", "127.0.77.0/24")
end
route(env("BENCH_ROUTE", "../etc/route.lua"))
