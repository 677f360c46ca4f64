from server.backends.turns import *
