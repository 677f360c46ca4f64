from server.backends.scheduler import *
