"""The front end: the customers' door, speaking the DynamoDB JSON protocol (2012-08-10).

    protocol, values, schema   pure: what a request says, and whether it may
    placing                    pure: where a new table goes
    catalog                    in memory: which tables exist and which servers hold their partitions
    maps                       loads the catalog from the metadata service, in the background
    replicas, clock            the data path: quorum over three replicas, versions
    workflows, ledger          table creation and deletion, kept over restarts
    app                        HTTP in, HTTP out; errors are translated here and nowhere else

The access key of the Authorization header names the customer. The signature is **not** checked: this is
a testbed on a private network, and a wrong secret would only hide a failure that we want to measure.
Secondary indexes are placed and get partitions of their own (they make memberships large, which is what
the event was about), but nothing reads them: there is no Query, so items are kept in the table alone.
"""
