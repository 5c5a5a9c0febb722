-- SPDX-License-Identifier: MIT
--- Media types by file name extension (lower case, without the dot).

local pairs = pairs
local _ENV <const> = nil

local UTF8 = "; charset=utf-8"

local mime = {
  html = "text/html" .. UTF8, htm = "text/html" .. UTF8,
  css = "text/css" .. UTF8, csv = "text/csv" .. UTF8, txt = "text/plain" .. UTF8,
  md = "text/markdown" .. UTF8, vtt = "text/vtt" .. UTF8, ics = "text/calendar" .. UTF8,
  js = "text/javascript" .. UTF8, mjs = "text/javascript" .. UTF8,
  xml = "application/xml", xhtml = "application/xhtml+xml",
  rss = "application/rss+xml", atom = "application/atom+xml",
  json = "application/json", map = "application/json", jsonld = "application/ld+json",
  webmanifest = "application/manifest+json", wasm = "application/wasm",
  pdf = "application/pdf", zip = "application/zip", gz = "application/gzip",
  bz2 = "application/x-bzip2", xz = "application/x-xz", zst = "application/zstd",
  tar = "application/x-tar", ["7z"] = "application/x-7z-compressed",
  jar = "application/java-archive", epub = "application/epub+zip",
  rtf = "application/rtf", doc = "application/msword",
  docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
  xls = "application/vnd.ms-excel",
  xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  ppt = "application/vnd.ms-powerpoint",
  pptx = "application/vnd.openxmlformats-officedocument.presentationml.presentation",
  odt = "application/vnd.oasis.opendocument.text",
  ods = "application/vnd.oasis.opendocument.spreadsheet",
  png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg", gif = "image/gif",
  webp = "image/webp", avif = "image/avif", svg = "image/svg+xml",
  ico = "image/x-icon", bmp = "image/bmp", tif = "image/tiff", tiff = "image/tiff",
  mp3 = "audio/mpeg", ogg = "audio/ogg", oga = "audio/ogg", opus = "audio/ogg",
  flac = "audio/flac", wav = "audio/wav", m4a = "audio/mp4", aac = "audio/aac",
  weba = "audio/webm", mid = "audio/midi", midi = "audio/midi",
  mp4 = "video/mp4", m4v = "video/mp4", webm = "video/webm", ogv = "video/ogg",
  mov = "video/quicktime", avi = "video/x-msvideo", mkv = "video/x-matroska",
  mpeg = "video/mpeg", mpg = "video/mpeg", ts = "video/mp2t",
  woff = "font/woff", woff2 = "font/woff2", ttf = "font/ttf", otf = "font/otf",
}

local M = { types = mime }

--- The media type for a file name; `extra` (extension → type) goes first.
---
---     mime.of("a/b.html") --> "text/html; charset=utf-8"
---@param name string
---@param extra? table
---@return string
function M.of(name, extra)
  local extension = name:match "%.([^./]+)$"
  extension = extension and extension:lower()
  return extra and extra[extension] or mime[extension] or "application/octet-stream"
end

--- A table with the extensions in lower case and without dots.
---@param types table
---@return table
function M.normalise(types)
  local out = {}
  for extension, kind in pairs(types) do
    out[(extension:lower():gsub("^%.", ""))] = kind
  end
  return out
end

return M
