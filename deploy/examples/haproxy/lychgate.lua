-- Asks lychgate whether a request may pass, and puts the identity headers of its answer onto the request.
-- Sets txn.lychgate_status (200, 401, 403; 0 where there was no answer) and txn.lychgate_location (the sign-in's URL).

local ENDPOINT = "http://127.0.0.1:3000/.lychgate/auth"
local TIMEOUT = 5000 -- milliseconds

-- What lychgate needs of the request: the session's cookie, a token, and what tells a navigation from a script.
local ASKED = {
    "cookie", "authorization", "accept", "accept-language", "origin", "user-agent", "x-requested-with",
    "purpose", "sec-purpose", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-websocket-key",
}

-- What the application learns. Each is set or removed, so that none can come from elsewhere.
local IDENTITY = {
    "x-auth-request-user", "x-auth-request-email", "x-auth-request-name", "x-auth-request-preferred-username",
    "x-auth-request-groups", "x-auth-request-tenant", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups",
    "x-forwarded-preferred-username",
}

local function first(values)
    return values and values[0]
end

-- HAProxy counts the values of a header from 0, its HTTP client from 1.
local function all(values)
    if not values then
        return nil
    end
    local list = { values[0] }
    for i = 1, #values do
        list[i + 1] = values[i]
    end
    return list
end

local function ask(txn)
    local request = txn.http:req_get_headers()
    local host = first(request["host"]) or ""
    local headers = {
        ["host"] = { host },
        ["x-original-url"] = { "https://" .. host .. txn.sf:pathq() },
        ["x-original-method"] = { txn.sf:method() },
        ["x-forwarded-for"] = { txn.sf:src() },
        ["x-forwarded-proto"] = { "https" },
    }
    for _, name in ipairs(ASKED) do
        headers[name] = all(request[name])
    end
    return core.httpclient():get({ url = ENDPOINT, headers = headers, timeout = TIMEOUT })
end

core.register_action("lychgate", { "http-req" }, function(txn)
    local asked, answer = pcall(ask, txn)
    local status = asked and answer and answer.status or 0
    txn:set_var("txn.lychgate_status", status)
    local location = status == 401 and first(answer.headers["location"])
    if location then
        txn:set_var("txn.lychgate_location", location)
    end
    for _, name in ipairs(IDENTITY) do
        local value = status == 200 and first(answer.headers[name]) or ""
        if value ~= "" then
            txn.http:req_set_header(name, value)
        else
            txn.http:req_del_header(name)
        end
    end
end, 0)
