"""The bus: rows of the log, fanned out to whoever subscribed on the socket.

`encoded` keeps pages of rows with their frames, `hub` owns the order (register, sweep, fan out, catch up), `subscriber` is one
connection, `listener` accepts them, `report` says who is there.
"""
