/* CAN: sets an interface up by rtnetlink, sends and receives frames by a raw socket. Frames are written as 123#0102 (8 digits before # for an extended
 * identifier), 123#R2 for a remote one. */
#include "hw.h"
#include <errno.h>
#include <linux/can.h>
#include <linux/can/error.h>
#include <linux/can/netlink.h>
#include <linux/can/raw.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

static const char help[] = "can IF up BITRATE [loopback] [bus-errors] [listen-only] [triple-sampling] [one-shot] [restart-ms=N]   (BITRATE 0: as it is)\n"
                           "can IF down | restart | state\n"
                           "can IF send FRAME...\n"
                           "can IF receive COUNT SECONDS [filter=ID/MASK]   (exits with 1 if fewer came)\n";

struct request {
    struct nlmsghdr head;
    struct ifinfomsg link;
    char attributes[512];
};

static void *append(struct request *request, int type, const void *data, int length)
{
    struct rtattr *attribute = (void *)((char *)request + NLMSG_ALIGN(request->head.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(length);
    if (length)
        memcpy(RTA_DATA(attribute), data, length);
    request->head.nlmsg_len = NLMSG_ALIGN(request->head.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    return attribute;
}

static void close_nest(struct request *request, struct rtattr *nest)
{
    nest->rta_len = (char *)request + request->head.nlmsg_len - (char *)nest;
}

/* Sends it; what comes back: an error number (0: done), or the answer itself where one is asked for. */
static int talk(struct request *request, char *answer, int size)
{
    char buffer[8192];
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (fd < 0 || send(fd, request, request->head.nlmsg_len, 0) < 0)
        fail("netlink");
    int length = recv(fd, answer ? answer : buffer, answer ? size : (int)sizeof buffer, 0);
    if (length < 0)
        fail("netlink");
    close(fd);
    struct nlmsghdr *head = (void *)(answer ? answer : buffer);
    return head->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(head))->error : 0;
}

static struct request new_link(int index, int flags)
{
    struct request request = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_index = index, .ifi_change = IFF_UP, .ifi_flags = flags},
    };
    return request;
}

static void change(struct request request, const char *what)
{
    errno = talk(&request, NULL, 0);
    if (errno)
        fail(what);
}

static int up(int index, int argc, char **argv)
{
    struct can_bittiming timing = {0};
    /* All that can be asked for, so that what is not is switched off. A driver refuses what it cannot do (Xilinx's: all but the first two). */
    struct can_ctrlmode mode = {.mask = CAN_CTRLMODE_LOOPBACK | CAN_CTRLMODE_BERR_REPORTING | CAN_CTRLMODE_LISTENONLY | CAN_CTRLMODE_3_SAMPLES |
                                        CAN_CTRLMODE_ONE_SHOT};
    uint32_t restart = 0, has_restart = 0;
    if (argc < 4)
        usage(help);
    timing.bitrate = number(argv[3]);
    for (int i = 4; i < argc; i++) {
        if (!strcmp(argv[i], "loopback"))
            mode.flags |= CAN_CTRLMODE_LOOPBACK;
        else if (!strcmp(argv[i], "bus-errors"))
            mode.flags |= CAN_CTRLMODE_BERR_REPORTING;
        else if (!strcmp(argv[i], "listen-only"))
            mode.flags |= CAN_CTRLMODE_LISTENONLY;
        else if (!strcmp(argv[i], "triple-sampling"))
            mode.flags |= CAN_CTRLMODE_3_SAMPLES;
        else if (!strcmp(argv[i], "one-shot"))
            mode.flags |= CAN_CTRLMODE_ONE_SHOT;
        else if (!strncmp(argv[i], "restart-ms=", 11))
            restart = number(argv[i] + 11), has_restart = 1;
        else
            usage(help);
    }
    change(new_link(index, 0), "down");
    if (timing.bitrate) {
        struct request request = new_link(index, 0);
        struct rtattr *info = append(&request, IFLA_LINKINFO, NULL, 0);
        append(&request, IFLA_INFO_KIND, "can", 3);
        struct rtattr *data = append(&request, IFLA_INFO_DATA, NULL, 0);
        append(&request, IFLA_CAN_BITTIMING, &timing, sizeof timing);
        append(&request, IFLA_CAN_CTRLMODE, &mode, sizeof mode);
        if (has_restart)
            append(&request, IFLA_CAN_RESTART_MS, &restart, sizeof restart);
        close_nest(&request, data);
        close_nest(&request, info);
        change(request, "bit timing and mode");
    }
    change(new_link(index, IFF_UP), "up");
    return 0;
}

static int restart(int index)
{
    struct request request = new_link(index, IFF_UP);
    uint32_t one = 1;
    struct rtattr *info = append(&request, IFLA_LINKINFO, NULL, 0);
    append(&request, IFLA_INFO_KIND, "can", 3);
    struct rtattr *data = append(&request, IFLA_INFO_DATA, NULL, 0);
    append(&request, IFLA_CAN_RESTART, &one, sizeof one);
    close_nest(&request, data);
    close_nest(&request, info);
    change(request, "restart");
    return 0;
}

static struct rtattr *find(struct rtattr *attribute, int length, int type)
{
    for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length))
        if ((attribute->rta_type & NLA_TYPE_MASK) == type)
            return attribute;
    return NULL;
}

static struct rtattr *find_in(struct rtattr *nest, int type)
{
    return nest ? find(RTA_DATA(nest), RTA_PAYLOAD(nest), type) : NULL;
}

static int state(int index)
{
    static const char *const states[] = {"error-active", "error-warning", "error-passive", "bus-off", "stopped", "sleeping"};
    char answer[8192];
    struct request request = new_link(index, 0);
    request.head.nlmsg_type = RTM_GETLINK;
    request.head.nlmsg_flags = NLM_F_REQUEST;
    request.link.ifi_change = 0;
    errno = talk(&request, answer, sizeof answer);
    if (errno)
        fail("state");
    struct nlmsghdr *head = (void *)answer;
    struct ifinfomsg *link = NLMSG_DATA(head);
    struct rtattr *info = find(IFLA_RTA(link), IFLA_PAYLOAD(head), IFLA_LINKINFO);
    struct rtattr *data = find_in(info, IFLA_INFO_DATA), *found;
    printf("%s\n", link->ifi_flags & IFF_UP ? "up" : "down");
    if ((found = find_in(data, IFLA_CAN_STATE))) {
        uint32_t value = *(uint32_t *)RTA_DATA(found);
        printf("state %s\n", value < 6 ? states[value] : "?");
    }
    if ((found = find_in(data, IFLA_CAN_BERR_COUNTER))) {
        struct can_berr_counter *errors = RTA_DATA(found);
        printf("errors tx %u rx %u\n", errors->txerr, errors->rxerr);
    }
    if ((found = find_in(data, IFLA_CAN_CLOCK)))
        printf("clock %u\n", ((struct can_clock *)RTA_DATA(found))->freq);
    if ((found = find_in(data, IFLA_CAN_BITTIMING))) {
        struct can_bittiming *timing = RTA_DATA(found);
        printf("bitrate %u brp %u prop %u phase1 %u phase2 %u sjw %u\n", timing->bitrate, timing->brp, timing->prop_seg, timing->phase_seg1,
               timing->phase_seg2, timing->sjw);
    }
    if ((found = find_in(data, IFLA_CAN_CTRLMODE)))
        printf("mode %#x\n", ((struct can_ctrlmode *)RTA_DATA(found))->flags);
    if ((found = find_in(info, IFLA_INFO_XSTATS))) {
        struct can_device_stats *stats = RTA_DATA(found);
        printf("stats bus-error %u warning %u passive %u bus-off %u arbitration-lost %u restarts %u\n", stats->bus_error, stats->error_warning,
               stats->error_passive, stats->bus_off, stats->arbitration_lost, stats->restarts);
    }
    return 0;
}

static struct can_frame parse(const char *text)
{
    struct can_frame frame = {0};
    char *end;
    frame.can_id = strtoul(text, &end, 16);
    if (*end != '#')
        usage(help);
    if (end - text == 8)
        frame.can_id |= CAN_EFF_FLAG;
    if (*++end == 'R') {
        frame.can_id |= CAN_RTR_FLAG;
        frame.can_dlc = atoi(end + 1);
        return frame;
    }
    for (unsigned byte; frame.can_dlc < 8 && sscanf(end, "%2x", &byte) == 1; end += 2 - !end[1])
        frame.data[frame.can_dlc++] = byte;
    return frame;
}

static void print(const char *name, const struct can_frame *frame)
{
    if (frame->can_id & CAN_ERR_FLAG)
        printf("%s error %#x", name, frame->can_id & CAN_ERR_MASK);
    else if (frame->can_id & CAN_EFF_FLAG)
        printf("%s %08X", name, frame->can_id & CAN_EFF_MASK);
    else
        printf("%s %03X", name, frame->can_id & CAN_SFF_MASK);
    if (frame->can_id & CAN_RTR_FLAG) {
        printf("#R%u\n", frame->can_dlc);
        return;
    }
    putchar('#');
    for (int i = 0; i < frame->can_dlc && i < 8; i++)
        printf("%02X", frame->data[i]);
    putchar('\n');
}

static int open_socket(int index)
{
    struct sockaddr_can address = {.can_family = AF_CAN, .can_ifindex = index};
    int fd = socket(PF_CAN, SOCK_RAW, CAN_RAW);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("CAN socket");
    return fd;
}

static int receive(const char *name, int index, int argc, char **argv)
{
    struct can_filter filter = {0};
    can_err_mask_t errors = CAN_ERR_MASK;
    struct can_frame frame;
    if (argc < 5)
        usage(help);
    int fd = open_socket(index), wanted = number(argv[3]), count = 0;
    long long deadline = now_ms() + number(argv[4]) * 1000;
    if (argc > 5) {
        char *mask;
        if (strncmp(argv[5], "filter=", 7))
            usage(help);
        filter.can_id = strtoul(argv[5] + 7, &mask, 16);
        filter.can_mask = *mask == '/' ? strtoul(mask + 1, NULL, 16) : CAN_EFF_MASK;
        setsockopt(fd, SOL_CAN_RAW, CAN_RAW_FILTER, &filter, sizeof filter);
    }
    setsockopt(fd, SOL_CAN_RAW, CAN_RAW_ERR_FILTER, &errors, sizeof errors);
    while (count < wanted && wait_readable(fd, deadline)) {
        if (read(fd, &frame, sizeof frame) != sizeof frame)
            fail("receive");
        print(name, &frame);
        count++;
    }
    printf("received %d\n", count);
    return count < wanted;
}

static int send_frames(int index, int argc, char **argv)
{
    int fd = open_socket(index);
    for (int i = 3; i < argc; i++) {
        struct can_frame frame = parse(argv[i]);
        /* The transmit queue is short: wait where it is full. */
        while (write(fd, &frame, sizeof frame) != sizeof frame) {
            if (errno != ENOBUFS)
                fail("send");
            usleep(1000);
        }
    }
    printf("sent %d\n", argc - 3);
    return 0;
}

int can_main(int argc, char **argv)
{
    if (argc < 3)
        usage(help);
    int index = if_nametoindex(argv[1]);
    if (!index)
        fail(argv[1]);
    if (!strcmp(argv[2], "up"))
        return up(index, argc, argv);
    if (!strcmp(argv[2], "down"))
        return change(new_link(index, 0), "down"), 0;
    if (!strcmp(argv[2], "restart"))
        return restart(index);
    if (!strcmp(argv[2], "state"))
        return state(index);
    if (!strcmp(argv[2], "send"))
        return send_frames(index, argc, argv);
    if (!strcmp(argv[2], "receive"))
        return receive(argv[1], index, argc, argv);
    usage(help);
}
