-- What every request passes before anything else reads it: the names under which the gateway may
-- be called, foreign pages, content types, sizes, request ids. ${…} comes from the configuration.

local ALLOWED = {${ALLOWED_HOSTS}} -- ["localhost"] = true, …; ["*"]: any
local LARGEST_BODY = ${BUFFER_BYTES}
local GRPC_ALONE = ":${GRPC_PORT}$" -- the end of the address of the port that speaks no REST
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

local function is_grpc(headers)
  return media_type(headers:get("content-type") or ""):find("^application/grpc") ~= nil
end

-- A body of unknown or too great a length is read here as a whole: Envoy itself then answers 413,
-- after so much of it that a client which sends all before it reads sees the answer.
local function body_length(handle, headers)
  local length = tonumber(headers:get("content-length") or "")
  if length ~= nil and length <= LARGEST_BODY then
    return length
  end
  local body = handle:body()
  return body ~= nil and body:length() or 0
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
  if timeout == nil then
    return
  end
  if not (is_grpc(headers) and timeout:find("^%d%d?%d?%d?%d?%d?%d?%d?[HMSmun]$")) then
    headers:remove("grpc-timeout")
  end
end

-- Who may write, in which form and how much. The transcoder hands JSON on as it comes, so a body
-- that is too large would otherwise be the server's to refuse, in words about messages.
local function check_write(handle, headers, authority)
  local origin = headers:get("origin")
  if origin ~= nil and origin:lower():gsub("^https?://", "") ~= authority then
    return refuse(handle, "403", 7, "ORIGIN_NOT_ALLOWED",
      "Pages of another origin may not change anything here.")
  end
  if is_grpc(headers) then
    return
  end
  local path = (headers:get(":path"):gsub("%?.*$", ""))
  local content_type = headers:get("content-type")
  local length = body_length(handle, headers) -- the last use of headers: they do not outlive it
  if path:find("^/adapters/") or path:find("^/v1/adapters/") then
    return
  end
  local fine
  if content_type == nil then
    fine = length == 0
  else
    fine = readable(path, content_type)
  end
  if not fine then
    refuse(handle, "415", 3, "UNSUPPORTED_MEDIA_TYPE",
      "Send the body as content-type: application/json.")
  end
end

-- The transcoder knows no HEAD: it is asked as GET, and what it answers goes without its body.
local function ask_as_get(handle, headers)
  headers:replace(":method", "GET")
  handle:streamInfo():dynamicMetadata():set("orca", "without_body", true)
end

-- gRPC is POST alone; any other method with its content type is read as what the method says.
local function sane_content_type(headers)
  if is_grpc(headers) and headers:get(":method") ~= "POST" then
    headers:remove("content-type")
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  sane_content_type(headers)
  sane_request_id(headers)
  sane_timeout(headers)
  local authority = (headers:get(":authority") or ""):lower()
  if not (ALLOWED["*"] or ALLOWED[without_port(authority)]) then
    return refuse(handle, "403", 7, "HOST_NOT_ALLOWED",
      "This host name is not served here; ORCA_ALLOWED_HOSTS lists those that are.")
  end
  if not is_grpc(headers) and handle:streamInfo():downstreamLocalAddress():find(GRPC_ALONE) then
    return refuse(handle, "415", 3, "UNSUPPORTED_MEDIA_TYPE",
      "This port speaks gRPC alone; REST is on port ${REST_PORT}.")
  end
  local method = headers:get(":method")
  if not READS[method] then
    check_write(handle, headers, authority)
  elseif method == "HEAD" then
    ask_as_get(handle, headers)
  end
end

function envoy_on_response(handle)
  local ours = handle:streamInfo():dynamicMetadata():get("orca")
  if ours ~= nil and ours["without_body"] then
    for chunk in handle:bodyChunks() do
      chunk:setBytes("")
    end
  end
end
