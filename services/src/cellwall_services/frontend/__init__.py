"""The front end: the customers' door, speaking the DynamoDB JSON protocol (2012-08-10).

    protocol, bodies, members          pure: what a request says, and whether it may
    values, targets, pages             pure: items, where they live, pages of them
    schema, definition                 pure: tables and indexes as their customers define them
    grammar, reserved, placeholders    pure: the text of an expression and what stands for names and values in it
    expressions, projection            pure: what a key condition and a projection mean
    placing                            pure: where new partitions go
    catalog, routing                   in memory: which tables exist, and which servers hold their partitions
    maps, admin                        loads the catalog from the metadata service, in the background
    calls, clock, replicas             the data path of one item: quorum over three replicas, versions
    rounds, ranges                     the data path of many: whom to ask, how far a page goes
    indexes                            pure: what a write means for the indexes, and why that suffices
    upkeep, outbox, delivery           writes, and index entries delivered behind them; kept over restarts
    operations, queries, batches       the operations on items
    tables, workflows, ledger          the operations on tables, carried out step by step; kept over restarts
    turns                              one request a cell for all workflows together
    backfill                           fills a new index
    app                                HTTP in, HTTP out; errors are translated here and nowhere else

The access key of the Authorization header names the customer. The signature is **not** checked: this is
a testbed on a private network, and a wrong secret would only hide a failure that we want to measure.
"""
