-- What every request passes before anything else reads it: the names under which the gateway may
-- be called, foreign pages, content types, request ids. Listed hosts come from the configuration.

local ALLOWED = {${ALLOWED_HOSTS}} -- ["localhost"] = true, …; ["*"]: any
local READS = {GET = true, HEAD = true, OPTIONS = true}
local YAML_PATHS = {["/agents:import"] = true, ["/v1/agents:import"] = true}

local function refuse(handle, status, code, reason, message)
  handle:streamInfo():dynamicMetadata():set("orca", "code", code)
  handle:streamInfo():dynamicMetadata():set("orca", "reason", reason)
  handle:respond({[":status"] = status}, message)
end

-- "[::1]:3000" -> "[::1]", "localhost:3000" -> "localhost"
local function without_port(authority)
  return (authority:gsub(":%d+$", ""))
end

-- "application/json; charset=utf-8" -> "application/json"
local function media_type(value)
  return (value:lower():gsub("%s*;.*$", ""))
end

-- A body in a form that a web page can send without asking is refused.
local function readable(path, content_type)
  local kind = media_type(content_type)
  if kind == "application/json" or kind:find("^application/grpc") then
    return true
  end
  return kind == "application/yaml" and YAML_PATHS[path] == true
end

local function has_body(handle, headers)
  local length = headers:get("content-length")
  if length ~= nil then
    return length ~= "0"
  end
  local body = handle:body() -- chunked: only the body itself tells
  return body ~= nil and body:length() > 0
end

local function sane_request_id(headers)
  local id = headers:get("x-request-id")
  if id ~= nil and (#id > 128 or id:find("[^%w%p]")) then
    headers:replace("x-request-id", (id:sub(1, 128):gsub("[^%w%p]", "_")))
  end
end

-- A deadline is native gRPC's; one that gRPC cannot read would be a fault of the server.
local function sane_timeout(headers)
  local timeout = headers:get("grpc-timeout")
  local native = media_type(headers:get("content-type") or ""):find("^application/grpc")
  if timeout ~= nil and not (native and timeout:find("^%d%d?%d?%d?%d?%d?%d?%d?[HMSmun]$")) then
    headers:remove("grpc-timeout")
  end
end

local function check_write(handle, headers, authority)
  local origin = headers:get("origin")
  if origin ~= nil and origin:lower():gsub("^https?://", "") ~= authority then
    return refuse(handle, "403", 7, "ORIGIN_NOT_ALLOWED",
      "Pages of another origin may not change anything here.")
  end
  local path = (headers:get(":path"):gsub("%?.*$", ""))
  if path:find("^/adapters/") or path:find("^/v1/adapters/") then
    return
  end
  local content_type = headers:get("content-type")
  local fine
  if content_type == nil then
    fine = not has_body(handle, headers)
  else
    fine = readable(path, content_type)
  end
  if not fine then
    refuse(handle, "415", 3, "UNSUPPORTED_MEDIA_TYPE",
      "Send the body as content-type: application/json.")
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  sane_request_id(headers)
  sane_timeout(headers)
  local authority = (headers:get(":authority") or ""):lower()
  if not (ALLOWED["*"] or ALLOWED[without_port(authority)]) then
    return refuse(handle, "403", 7, "HOST_NOT_ALLOWED",
      "This host name is not served here; ORCA_ALLOWED_HOSTS lists those that are.")
  end
  if not READS[headers:get(":method")] then
    check_write(handle, headers, authority)
  end
end
