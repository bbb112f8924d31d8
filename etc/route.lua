-- route.lua: what this router does with a request.
--
-- Retransmissions, CANCEL and ACK to a failed INVITE never come here. A
-- request_route that ends without a decision answers 500.

-- Programs that look for open doors get no answer at all.
local SCANNERS = "friendly-scanner|sipvicious|sipcli|VaxSIPUserAgent|pplsip"

function request_route()
  if not maxfwd(10) then return sl_reply(483, "Too Many Hops") end
  if search_hf("User-Agent", SCANNERS) then return drop() end
  if method == "CANCEL" then return sl_reply(481, "Call/Transaction Does Not Exist") end

  -- A request inside a dialog proves that the dialog was set up here.
  local inside, why = loose_route()
  if inside then return within_dialog() end
  if method == "ACK" then return drop() end
  -- Everything else is a new request, whatever its To tag says.
  if why == "foreign" then return sl_reply(403, "Preloaded Route Denied") end

  if method == "OPTIONS" and strempty(ruri.user) and is_myself() then
    return sl_reply(200, "Keepalive")
  end

  local trusted = allow_source_address()
  if method == "REGISTER" then return register(trusted) end

  lookup_domain("$fd", "@from.uri.host")
  lookup_domain("$td", "@ruri.host")
  if not trusted and not admit() then return end
  if is_method("INVITE|SUBSCRIBE|REFER") then record_route() end

  if not attr.td.did then -- one of our users calls out
    if is_myself() then return reply(404, "Unknown Domain") end
    return t_relay()
  end
  if strempty(ruri.user) then return sl_reply(484, "Address Incomplete") end
  return location(trusted or attr.fd.did)
end

function within_dialog()
  if is_method("NOTIFY|SUBSCRIBE") then record_route() end
  if is_method("INVITE|UPDATE") and not allow_source_address() then strip_claims() end
  return t_relay()
end

-- Who may not be believed does not get to say who is calling.
function strip_claims()
  remove_hf("P-Asserted-Identity")
  remove_hf("Remote-Party-ID")
end

function register(trusted)
  if not trusted then
    if not www_authorize() then return www_challenge() end
    if not check_identity() then return sl_reply(403, "Not Your Address") end
    consume_credentials()
  end
  return save("location")
end

-- Whoever claims one of our domains has to prove it; strangers may call our
-- users, and nobody else.
function admit()
  strip_claims()
  if not attr.fd.did then
    if attr.td.did then return true end
    sl_reply(403, "Relaying Forbidden")
    return false
  end
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

-- A user of ours, or a number behind a gateway if the caller is one of us.
function location(ours)
  lookup_user("$tu", "@ruri")
  local found, why = lookup("location")
  if found then return t_relay() end
  if why == "unknown" and ours and gw_route() then
    t_on_failure("next_gateway")
    return t_relay()
  end
  -- A source that asks for many names must not learn which of them exist.
  if why == "offline" or shared.add("unknown " .. src.ip, 1, 60) > 20 then
    return reply(480, "Temporarily Unavailable")
  end
  return reply(404, "Not Found")
end

function next_gateway()
  if t_check_status("408|5xx") and next_gw() then
    t_on_failure("next_gateway")
    t_relay()
  end
end
