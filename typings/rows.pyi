from server.backends.rows import *
