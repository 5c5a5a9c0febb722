-- Ropewalk is Lua 5.4; specs are busted's.
std = "lua54"
max_line_length = 120
-- hooks have fixed parameters whether or not a class uses them
unused_args = false
files["spec"] = { std = "+busted" }
files[".luacheckrc"] = { std = "+luacheckrc" }
exclude_files = { "build/**" }
