"""Takes variants through the engine and a tariff; gives the frontier and the cheapest good one."""
