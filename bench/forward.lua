-- forward.lua: one line, for the stateless relay.
function request_route() forward() end
