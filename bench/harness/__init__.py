"""What `bench/run` is made of; Python's standard library only.

options    command line -> Plan              processes  starting, stopping, CPU and memory of processes
postgres   the server behind the proxies     targets    direct, Tenantry and PgBouncer, each ready to start
client     a minimal protocol client         load       pgbench and what its log says
timed      throughput, latency, connect, TLS
counted    system calls, instructions        idle       memory of idle clients
results    samples, medians, ratios          report     table and JSON
"""
