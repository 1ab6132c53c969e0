-- What wrk sends and says. LOAD_HEADERS is a file of header lines; LOAD_VALUES, if set, a file of values for the header
-- LOAD_NAME, one a line, behind a path and a tab if paths differ, too. LOAD_ORDER says how they are taken: at random or in
-- turn.

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

function init()
   for line in io.lines(os.getenv("LOAD_HEADERS")) do
      local name, value = line:match("^([^:]+): (.*)$")
      wrk.headers[name] = value
   end
   local file = os.getenv("LOAD_VALUES")
   if not file then return end

   local paths, values = {}, {}
   for line in io.lines(file) do
      local path, value = line:match("^(.-)\t(.*)$")
      paths[#paths + 1], values[#values + 1] = path, value or line
   end
   local mark = "{value}"
   wrk.headers[os.getenv("LOAD_NAME")] = mark
   local head, tail = wrk.format():match("^(.-)" .. mark .. "(.*)$")
   local method, rest = head:match("^(%u+ )%S+(.*)$")
   math.randomseed(os.time() + 7919 * number)
   local at = math.random(#values)
   local in_turn = os.getenv("LOAD_ORDER") == "turn"

   function request()
      at = in_turn and at % #values + 1 or math.random(#values)
      return (paths[at] and method .. paths[at] .. rest or head) .. values[at] .. tail
   end
end

function done(summary, latency)
   local errors = 0
   for _, count in pairs(summary.errors) do errors = errors + count end
   io.write(string.format(
      '\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors))
end
