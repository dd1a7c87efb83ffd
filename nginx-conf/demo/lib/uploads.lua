-- Bytes received so far, by the name that the page gives its upload. A worker
-- loads a module once: all its requests share this table.
return {}
