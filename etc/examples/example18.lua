-- example18.lua: who calls whom, on a router that serves several virtual
-- domains. It is Example 18 of the documentation of SER's domain module, with
-- what has to stand around it on a router that faces the Internet.

function request_route()
  if not maxfwd(10) then return sl_reply(483, "Too Many Hops") end
  if method == "CANCEL" then return sl_reply(481, "Call/Transaction Does Not Exist") end

  local inside, why = loose_route()
  if inside then return t_relay() end
  if method == "ACK" then return drop() end
  if why == "foreign" then return sl_reply(403, "Preloaded Route Denied") end
  if method == "REGISTER" then return register() end

  lookup_domain("$fd", "@from.uri.host");
  lookup_domain("$td", "@ruri.host");

  if strempty(attr.f.did) and strempty(attr.t.did) then
    -- Neither the calling nor the called domain is local: somebody tries to
    -- relay through us.
    sl_reply("403", "Relaying Forbidden");
    drop();
  end
  if strempty(attr.f.did) and attr.t.did then
    -- The called domain alone is local: a third party calls one of our users.
    return to_user()
  end
  if attr.f.did and strempty(attr.t.did) then
    -- The calling domain alone is local: one of our users calls a third party.
    return to_world()
  end
  if attr.f.did and attr.t.did then
    -- Both are local: one of our users calls another, in the same virtual
    -- domain or in another one.
    if proved() then return to_user() end
  end
end

function register()
  if not www_authorize() then return www_challenge() end
  if not check_identity() then return sl_reply(403, "Not Your Address") end
  return save("location")
end

-- A From header field is only a claim. Who claims to be one of our users has
-- to prove it.
function proved()
  if not proxy_authorize() then
    proxy_challenge()
    return false
  end
  if not check_identity() then
    sl_reply(403, "Not Your Address")
    return false
  end
  consume_credentials()
  return true
end

function to_user()
  record_route()
  if lookup("location") then return t_relay() end
  return reply(480, "Temporarily Unavailable")
end

function to_world()
  if is_myself() then return reply(404, "Unknown Domain") end
  if not proved() then return end
  record_route()
  return t_relay()
end
