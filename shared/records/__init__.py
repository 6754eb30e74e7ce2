"""Records of jobs in Redis, and the Lua scripts that change them."""
