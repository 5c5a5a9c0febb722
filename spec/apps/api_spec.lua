-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

describe("apps/api.lua", function()
  local api
  setup(function() api = server.start "apps/api.lua" end)
  teardown(function() api:stop() end)
  local function send(method, path, body)
    return api:get(path, "-X", method, "-H", "Content-Type: application/json", "-d", body)
  end
  local function has(response, text) assert.truthy(response.body:find(text, 1, true), response.body) end

  it("makes, reads, replaces, changes and deletes", function()
    local r = send("POST", "/tasks", '{"title":"splice"}')
    assert.same({ 201, "/tasks/1", "application/json" },
      { r.status, r.headers.location, r.headers["content-type"] })
    r = api:get "/tasks/1"
    assert.equal(200, r.status)
    has(r, '"title":"splice"')
    has(r, '"done":false')
    has(send("PUT", "/tasks/1", '{"title":"whip","done":true}'), '"title":"whip"')
    has(send("PATCH", "/tasks/1", '{"done":false}'), '"done":false')
    has(api:get "/tasks/1", '"title":"whip"')
    r = api:get("/tasks/1", "-X", "DELETE")
    assert.same({ 204, "" }, { r.status, r.body })
    assert.equal(404, api:get("/tasks/1").status)
    assert.equal(404, api:get("/tasks/1", "-X", "DELETE").status)
  end)

  it("says what is wrong", function()
    assert.equal(400, send("POST", "/tasks", "{").status)
    local r = send("POST", "/tasks", '{"done":"yes","colour":1}')
    assert.equal(422, r.status)
    has(r, '"title":"missing"')
    has(r, '"done":"true or false"')
    has(r, '"colour":"unknown"')
    assert.equal(422, send("POST", "/tasks", "[1]").status)
    assert.equal(422, send("POST", "/tasks", '{"title":""}').status)
    assert.equal(404, api:get("/tasks/x").status)
    has(api:get "/nowhere", '"error":"not found"')
    assert.equal("DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
      api:get("/tasks/1", "-X", "POST").headers.allow)
  end)

  it("lists in pages", function()
    has(api:get "/tasks?done=true", '"tasks":[]')
    for i = 1, 5 do
      send("POST", "/tasks", ('{"title":"t%d","done":%s}'):format(i, i > 3))
    end
    local r = api:get "/tasks?offset=1&limit=2"
    has(r, '"total":5')
    has(r, '"title":"t2"')
    has(r, '"title":"t3"')
    assert.falsy(r.body:find '"t1"')
    has(api:get "/tasks?done=true", '"total":2')
    assert.equal(400, api:get("/tasks?limit=0").status)
    assert.equal(400, api:get("/tasks?offset=x").status)
  end)
end)
