from server.backends.plan import *
