-- SPDX-License-Identifier: MIT
-- The documentation does what it says: its examples run, its links lead
-- somewhere, what is generated is up to date.
local examples = require "spec.docs.examples"

local pages = { "README.md" }
for path in examples.shell("ls docs/*.md docs/*/*.md"):gmatch "%S+" do pages[#pages + 1] = path end

for _, path in ipairs(pages) do
  describe(path, function()
    local page
    setup(function() page = examples.open(path) end)
    teardown(function() page:close() end)

    for _, block in ipairs(examples.blocks(path)) do
      if block.info:find "^lua" or block.info:find "^console" then
        it(("line %d: %s"):format(block.line, block.info), function() page:run(block) end)
      end
    end

    it("links to what is there", function()
      local folder = path:match "^(.*/)" or ""
      local text = examples.read_file(path):gsub("\n```.-\n```", "")
      for target in text:gmatch "%]%(([^)%s]+)%)" do
        local file = target:gsub("#.*$", "")
        if not target:find "^%a+:" and file ~= "" then
          assert(io.open(folder .. file), path .. ": " .. target .. " is not there"):close()
        end
      end
    end)
  end)
end

describe("docs/limits.md", function()
  it("is what docs/generate-limits.sh makes of src/base/limits.def", function()
    local made, status = examples.shell "sh docs/generate-limits.sh"
    assert.equal(0, status)
    assert.equal(made, examples.read_file "docs/limits.md")
  end)
end)
