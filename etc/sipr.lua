-- sipr.lua: settings. Lines start with -- to be comments; relative file names
-- are relative to this file. Check a change with: sipr check -f etc/sipr.lua

-- Where data lives. The systemd unit sets STATE_DIRECTORY.
local state = env("STATE_DIRECTORY", ".")

listen "udp:127.0.0.1:5060"
listen "tcp:127.0.0.1:5060"
-- listen { "udp:192.0.2.10:5060", advertise = "sip.example.com" }

modparam("core", "db_url", "sqlite:" .. state .. "/sipr.db")
-- modparam("core", "db_url", "mysql://user:password@db.example.com/sipr")
modparam("core", "secret_file", state .. "/sipr.secret")
modparam("core", "ctl_socket", state .. "/sipr.sock")
-- modparam("core", "fifo", "/run/sipr/sipr.fifo")

loadmodule "tm"           -- transactions, forking, retransmissions
loadmodule "rr"           -- Record-Route and loose routing
loadmodule "domain"       -- virtual domains
loadmodule "users"        -- who exists, and aliases
loadmodule "auth"         -- digest
loadmodule "permissions"  -- trusted sources
loadmodule "registrar"    -- REGISTER and location
loadmodule "gateway"      -- numbers to gateways
loadmodule "acc"          -- call records

modparam("tm", "fr_timer", 30000)         -- ms without any response
modparam("tm", "fr_inv_timer", 120000)    -- ms of ringing
modparam("domain", "load_domain_attrs", 1)
modparam("registrar", "max_contacts", 10) -- of one address
modparam("auth", "algorithms", "MD5")     -- or "SHA-256,MD5"
-- modparam("permissions", "trusted", "192.0.2.20")   -- a trunk or a gateway
-- modparam("gateway", "rule", "prefix=+ target=sip:192.0.2.20")
-- modparam("acc", "json_file", state .. "/calls.json")

route "route.lua"
