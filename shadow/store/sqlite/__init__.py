"""The store in one SQLite file, shared by several processes.

`file` prepares the file (modes, corruption, migrations), `connection` holds the connections, `rows` turns records into
columns and back; `intake`, `jobs` and `reader` are the three parts of the door in `shadow.store.base`.
"""
