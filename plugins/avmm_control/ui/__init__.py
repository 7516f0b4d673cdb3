"""The web page: what each vCPU does, live, and the console to type in.

`lanes` records what vCPUs do, `frames` makes messages of it, `live` hands them to each connected `page`, `stream` is the
connection, `site` the files that a browser loads, `server` all of it at one address.
"""
