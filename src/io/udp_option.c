/* SPDX-License-Identifier: MIT */
/* Options of datagram sockets; groups (multicast). */
#include "io/datagram_private.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static int set_int(struct datagram *d, int level, int option, int value) {
    return setsockopt(d->fd, level, option, &value, sizeof value) < 0 ? -errno : 0;
}

/* The option of the socket's family; an IPv6 socket may speak IPv4, too. */
static int set_ip(struct datagram *d, int v4, int v6, int value) {
    if (d->family == AF_INET) return set_int(d, IPPROTO_IP, v4, value);
    set_int(d, IPPROTO_IP, v4, value);
    return set_int(d, IPPROTO_IPV6, v6, value);
}

int datagram_option(struct datagram *d, const char *name, int64_t value) {
    if (d->closing) return RW_ECLOSED;
    if (value < 0 || value > 255) return RW_EINVAL;
    if (d->loop->sim) return sim_datagram_option(name, value);
    int n = (int)value;
    if (strcmp(name, "broadcast") == 0) return set_int(d, SOL_SOCKET, SO_BROADCAST, n);
    if (strcmp(name, "ttl") == 0) return set_ip(d, IP_TTL, IPV6_UNICAST_HOPS, n);
    if (strcmp(name, "multicast_ttl") == 0)
        return set_ip(d, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, n);
    if (strcmp(name, "loopback") == 0)
        return set_ip(d, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, n);
    return RW_ENONAME;
}

/* An interface by its name, or by an IPv4 address of its own: 0 or < 0. */
static int find_interface(const char *name, struct ip_mreqn *out) {
    if (!*name || inet_pton(AF_INET, name, &out->imr_address) == 1) return 0;
    out->imr_ifindex = (int)if_nametoindex(name);
    return out->imr_ifindex ? 0 : RW_ENONAME;
}

int datagram_group(struct datagram *d, const char *group, const char *interface, bool join) {
    struct ip_mreqn four = {0};
    struct ipv6_mreq six = {0};
    if (d->closing) return RW_ECLOSED;
    if (d->loop->sim) return RW_ESIMULATED;
    int rc = find_interface(interface, &four);
    if (rc < 0) return rc;
    if (inet_pton(AF_INET, group, &four.imr_multiaddr) == 1) {
        rc = setsockopt(d->fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &four,
                        sizeof four);
    } else if (inet_pton(AF_INET6, group, &six.ipv6mr_multiaddr) == 1) {
        six.ipv6mr_interface = (unsigned)four.imr_ifindex;
        rc = setsockopt(d->fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &six,
                        sizeof six);
    } else {
        return RW_ESYNTAX;
    }
    return rc < 0 ? -errno : 0;
}

int datagram_outgoing_interface(struct datagram *d, const char *interface) {
    struct ip_mreqn four = {0};
    if (d->closing) return RW_ECLOSED;
    if (d->loop->sim) return RW_ESIMULATED;
    int rc = find_interface(interface, &four);
    if (rc < 0) return rc;
    if (d->family == AF_INET6)
        rc = set_int(d, IPPROTO_IPV6, IPV6_MULTICAST_IF, four.imr_ifindex);
    else if (setsockopt(d->fd, IPPROTO_IP, IP_MULTICAST_IF, &four, sizeof four) < 0)
        rc = -errno;
    return rc;
}
