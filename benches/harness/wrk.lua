-- What wrk sends and says. LOAD_HEADERS is a file of header lines; LOAD_VALUES, if set, a file of values for the header
-- LOAD_NAME, one a line, taken at random or, with LOAD_ORDER=turn, in turn.

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

   local values = {}
   for line in io.lines(file) do values[#values + 1] = line end
   local mark = "{value}"
   wrk.headers[os.getenv("LOAD_NAME")] = mark
   local head, tail = wrk.format():match("^(.-)" .. mark .. "(.*)$")
   math.randomseed(os.time() + 7919 * number)
   local at = math.random(#values)
   local in_turn = os.getenv("LOAD_ORDER") == "turn"
   function request()
      at = in_turn and at % #values + 1 or math.random(#values)
      return head .. values[at] .. tail
   end
end

function done(summary, latency)
   local errors = 0
   for _, count in pairs(summary.errors) do errors = errors + count end
   io.write(string.format(
      '\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors))
end
