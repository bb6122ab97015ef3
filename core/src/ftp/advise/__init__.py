"""Which approach for which task, measured on the user's own rows (`ftp advise`). Imports nothing heavy.

    question > situation (the rows as a run reads them) > facts > looks > candidates > race of pilots > recommendation > writing
"""
