"""The customers' catalogue of a layout: what the load generator and the simulation may ask for.

Decides the shares: a placement group gets requests in proportion to its servers, whatever their membership
size (what placement balances is offered load); inside a group customers and tables are very uneven.
"""

from __future__ import annotations

from cellwall.arrivals import Catalogue, CatalogueCustomer, CatalogueTable
from cellwall.placement import Layout, PlacedTable


def make_catalogue(layout: Layout) -> Catalogue:
    by_customer: dict[str, list[PlacedTable]] = {}
    for table in layout.tables:
        by_customer.setdefault(table.info.customer, []).append(table)
    servers = [len(group) for group in layout.fleet.groups()]
    return Catalogue(
        customers=tuple(
            CatalogueCustomer(
                customer=customer,
                weight=servers[tables[0].group] * sum(table.weight for table in tables),
                tables=tuple(
                    CatalogueTable(
                        name=table.info.name,
                        id=table.info.id,
                        partitions=table.info.partitions,
                        weight=table.weight,
                    )
                    for table in tables
                ),
            )
            for customer, tables in by_customer.items()
        )
    )
