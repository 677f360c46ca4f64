from server.backends.planned import *
