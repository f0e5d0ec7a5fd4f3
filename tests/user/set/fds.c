/* Descriptors: pipes, sockets and what they carry, event descriptors, epoll, locks. */
#include "test.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static int give(int to, int *fds, int n, const char *text)
{
	union { struct cmsghdr header; char space[CMSG_SPACE(4 * sizeof(int))]; } control;
	memset(&control, 0, sizeof control);
	struct iovec v[2] = { { (char *)text, 2 }, { (char *)text + 2, strlen(text) - 2 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(to, &m, 0);
}
static int take(int from, int *fds, char *text, size_t size)
{
	union { struct cmsghdr header; char space[CMSG_SPACE(4 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))]; } control;
	struct iovec v = { text, size };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	int n = recvmsg(from, &m, MSG_CMSG_CLOEXEC), count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), count * sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred who;
			memcpy(&who, CMSG_DATA(c), sizeof who);
			say("credentials: %d", who.pid == getpid() && who.uid == getuid());
		}
	}
	text[n > 0 ? n : 0] = 0;
	return count;
}
static int port;
static void *client(void *x)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = port, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CHECK(connect(s, (struct sockaddr *)&to, sizeof to) == 0);
	char all[10000];
	memset(all, 'y', sizeof all);
	for (int i = 0; i < 20; i++)
		CHECK(send(s, all, sizeof all, MSG_NOSIGNAL) == sizeof all);
	shutdown(s, SHUT_WR);
	CHECK(recv(s, all, 5, MSG_WAITALL) == 5 && memcmp(all, "hello", 5) == 0);
	close(s);
	return x;
}

int main(void)
{
	int p[2], q[2], s[2], n, fds[4];
	char text[200];
	CHECK(pipe2(p, O_NONBLOCK | O_CLOEXEC) == 0);
	say("pipe2: %d %d", !!(fcntl(p[0], F_GETFL) & O_NONBLOCK), fcntl(p[1], F_GETFD) == FD_CLOEXEC);
	say("empty: %s", name_of(read(p[0], text, 1)));
	for (n = 0; write(p[1], text, 1024) == 1024; n++)
		;
	say("full after %d KiB: %s", n, name_of(-1));
	say("dup3: %d, %s", dup3(p[0], 50, O_CLOEXEC) == 50, name_of(dup3(p[0], p[0], 0)));
	say("dup2: %d %d", dup2(p[0], p[0]) == p[0], fcntl(50, F_GETFD));
	say("F_DUPFD: %d", fcntl(p[0], F_DUPFD, 60) >= 60);
	say("bad: %s", name_of(dup2(99, 98)));
	int waiting = 0;
	CHECK(ioctl(p[0], FIONREAD, &waiting) == 0);
	say("FIONREAD: %d", waiting == n * 1024);

	/* Vectors. */
	CHECK(pipe(q) == 0);
	struct iovec v[3] = { { "one", 3 }, { NULL, 0 }, { " and two", 8 } };
	say("writev: %d", (int)writev(q[1], v, 3));
	char a[5] = "", b[20] = "";
	struct iovec r[2] = { { a, 4 }, { b, 19 } };
	n = readv(q[0], r, 2);
	say("readv: %d <%s> <%s>", n, a, b);
	say("readv: %s", name_of(readv(q[0], r, -1)));
	FILE *file = tmpfile();
	int fd = fileno(file);
	say("pwritev: %d", (int)pwritev(fd, v, 3, 5000000000LL));
	memset(a, 0, sizeof a);
	say("preadv: %d %s", (int)preadv(fd, r, 1, 5000000001LL), a);
	struct stat st;
	CHECK(fstat(fd, &st) == 0);
	say("size: %lld", (long long)st.st_size);
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, "0123456789", 10, 0) == 10);
	off_t offset = 3;
	n = sendfile(q[1], fd, &offset, 5);
	say("sendfile: %d, offset %d", n, (int)offset);
	memset(b, 0, sizeof b);
	n = read(q[0], b, 19);
	say("  %d %s", n, b);
	loff_t from = 1;
	n = splice(fd, &from, q[1], NULL, 4, 0);
	say("splice: %d, offset %d", n, (int)from);
	int t[2];
	CHECK(pipe(t) == 0);
	say("tee: %d", (int)tee(q[0], t[1], 4, 0));
	CHECK(read(t[0], b, 4) == 4);
	b[4] = 0;
	say("  %s", b);

	/* Sockets. */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	int one = 1;
	CHECK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
	say("sent: %d", give(s[0], (int[]){ fd, q[0] }, 2, "rights"));
	n = take(s[1], fds, text, sizeof text - 1);
	say("received %d with <%s>", n, text);
	CHECK(pread(fds[0], text, 10, 0) == 10);
	say("the file's: %.10s, close-on-exec %d", text, fcntl(fds[0], F_GETFD));
	pid_t pid = fork();
	if (pid == 0) {
		int child[2];
		CHECK(pipe(child) == 0 && write(child[1], "from the child", 14) == 14);
		give(s[0], child, 1, "pipe");
		_exit(0);
	}
	say_end("child", pid);
	CHECK(take(s[1], fds, text, sizeof text - 1) == 1);
	CHECK(read(fds[0], text, 14) == 14);
	text[14] = 0;
	say("its pipe: %s", text);
	struct ucred who;
	socklen_t size = sizeof who;
	CHECK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &who, &size) == 0);
	say("SO_PEERCRED: %d", who.pid == getpid());
	int type = 0;
	size = sizeof type;
	CHECK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &size) == 0);
	say("SO_TYPE: %d", type == SOCK_STREAM);
	struct timeval limit = { 0, 20000 };
	CHECK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	say("SO_RCVTIMEO: %s", name_of(recv(s[0], text, 1, 0)));
	say("MSG_DONTWAIT: %s", name_of(recv(s[0], text, 1, MSG_DONTWAIT)));
	CHECK(send(s[1], "peek", 4, 0) == 4);
	n = recv(s[0], text, 10, MSG_PEEK);
	say("MSG_PEEK: %d, then %d", n, (int)recv(s[0], text, 10, 0));
	close(s[1]);
	say("other end closed: %d", (int)recv(s[0], text, 10, 0));
	say("send to it: %s", name_of(send(s[0], "x", 1, MSG_NOSIGNAL)));
	int d[2];
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, d) == 0);
	struct iovec one_v = { "datagram 1", 10 }, two_v = { "two", 3 }, got_v[3];
	char got[3][20] = { "" };
	struct mmsghdr mm[3] = { { .msg_hdr = { .msg_iov = &one_v, .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = &two_v, .msg_iovlen = 1 } } };
	say("sendmmsg: %d", sendmmsg(d[0], mm, 2, 0));
	memset(mm, 0, sizeof mm);
	for (int i = 0; i < 3; i++) {
		got_v[i] = (struct iovec){ got[i], 5 };
		mm[i].msg_hdr.msg_iov = &got_v[i];
		mm[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(d[1], mm, 3, MSG_DONTWAIT, NULL);
	say("recvmmsg: %d, <%s> truncated %d, <%s> %u", n, got[0], !!(mm[0].msg_hdr.msg_flags & MSG_TRUNC), got[1], mm[1].msg_len);
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	size = offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(name.sun_path + 1, "emu-set-%d", getpid());
	int u = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(u, (struct sockaddr *)&name, size) == 0 && listen(u, 1) == 0);
	say("connect: %s", name_of(connect(c, (struct sockaddr *)&name, size)));
	struct sockaddr_un peer;
	socklen_t peer_size = sizeof peer;
	int accepted = accept4(u, (struct sockaddr *)&peer, &peer_size, SOCK_NONBLOCK);
	say("accept4: %d, address of %d, %d", accepted >= 0, (int)peer_size, fcntl(accepted, F_GETFL) == (O_RDWR | O_NONBLOCK));
	peer_size = sizeof peer;
	CHECK(getpeername(c, (struct sockaddr *)&peer, &peer_size) == 0);
	say("getpeername: %d", peer_size == size && memcmp(peer.sun_path, name.sun_path, size - 2) == 0);
	/* TCP. */
	int l = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CHECK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
	CHECK(bind(l, (struct sockaddr *)&in, sizeof in) == 0 && listen(l, 5) == 0);
	size = sizeof in;
	CHECK(getsockname(l, (struct sockaddr *)&in, &size) == 0);
	port = in.sin_port;
	say("address: %s, size %d, port %d", inet_ntoa(in.sin_addr), (int)size, in.sin_port != 0);
	pthread_t thread;
	pthread_create(&thread, NULL, client, NULL);
	struct sockaddr_in from_in;
	size = sizeof from_in;
	int tcp = accept(l, (struct sockaddr *)&from_in, &size);
	say("from %s", inet_ntoa(from_in.sin_addr));
	CHECK(setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
	int total = 0;
	static char big[65536];
	while ((n = recv(tcp, big, sizeof big, 0)) > 0)
		total += n;
	say("received %d", total);
	CHECK(send(tcp, "hello", 5, 0) == 5);
	pthread_join(thread, NULL);
	close(tcp);
	int refused = socket(AF_INET, SOCK_STREAM, 0);
	close(l);
	say("refused: %s", name_of(connect(refused, (struct sockaddr *)&in, sizeof in)));
	say("bad family: %s", name_of(socket(12345, SOCK_STREAM, 0)));
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CHECK(bind(udp, (struct sockaddr *)&at, sizeof at) == 0);
	size = sizeof at;
	getsockname(udp, (struct sockaddr *)&at, &size);
	CHECK(sendto(udp, "to myself", 9, 0, (struct sockaddr *)&at, sizeof at) == 9);
	size = sizeof from_in;
	n = recvfrom(udp, text, sizeof text, 0, (struct sockaddr *)&from_in, &size);
	say("datagram: %d from itself %d", n, from_in.sin_port == at.sin_port);

	/* Events. */
	int e = eventfd(5, EFD_NONBLOCK);
	uint64_t value = 7;
	CHECK(write(e, &value, 8) == 8 && read(e, &value, 8) == 8);
	say("eventfd: %d", (int)value);
	say("  empty: %s", name_of(read(e, &value, 8)));
	value = -1;
	say("  too large: %s", name_of(write(e, &value, 8)));
	int se = eventfd(3, EFD_SEMAPHORE);
	CHECK(read(se, &value, 8) == 8);
	say("  semaphore: %d", (int)value);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec when = { { 0, 1000000 }, { 0, 1000000 } }, left;
	CHECK(timerfd_settime(timer, 0, &when, NULL) == 0);
	nap(30);
	CHECK(read(timer, &value, 8) == 8);
	say("timerfd: several %d", value >= 10);
	when = (struct itimerspec){ { 0, 0 }, { 1000, 0 } };
	timerfd_settime(timer, 0, &when, &left);
	timerfd_gettime(timer, &left);
	say("  old interval, left: %d", left.it_value.tv_sec == 999 || left.it_value.tv_sec == 1000);

	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0x123456789abcdef0 }, found[4];
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev) == 0);
	say("again: %s", name_of(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev)));
	say("absent: %s", name_of(epoll_ctl(ep, EPOLL_CTL_MOD, timer, &ev)));
	say("a file: %s", name_of(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)));
	say("none: %d", epoll_wait(ep, found, 4, 0));
	value = 1;
	CHECK(write(e, &value, 8) == 8);
	n = epoll_wait(ep, found, 4, -1);
	say("one: %d, %x, %llx", n, found[0].events, (unsigned long long)found[0].data.u64);
	ev.events = EPOLLIN | EPOLLET;
	ev.data.u64 = 1;
	epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev);
	n = epoll_wait(ep, found, 4, 0);
	say("edge: %d, then %d", n, epoll_wait(ep, found, 4, 0));
	ev.events = EPOLLIN | EPOLLONESHOT;
	epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev);
	n = epoll_wait(ep, found, 4, 0);
	say("one shot: %d, then %d", n, epoll_wait(ep, found, 4, 0));
	ev = (struct epoll_event){ .events = EPOLLOUT | EPOLLIN | EPOLLRDHUP, .data.u64 = 2 };
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev) == 0);
	n = epoll_pwait(ep, found, 4, 0, NULL);
	say("hung up: %d %x", n, found[0].events);
	say("removed: %s", name_of(epoll_ctl(ep, EPOLL_CTL_DEL, s[0], NULL)));
	struct pollfd pf[3] = { { .fd = q[0], .events = POLLIN }, { .fd = -1 }, { .fd = 999, .events = POLLIN } };
	n = poll(pf, 3, 0);
	say("poll: %d %x %x %x", n, pf[0].revents, pf[1].revents, pf[2].revents);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(q[0], &set);
	FD_SET(p[1], &set);
	struct timeval soon = { 0, 1000 };
	n = select(70, &set, NULL, NULL, &soon);
	say("select: %d %d %d", n, FD_ISSET(q[0], &set), FD_ISSET(p[1], &set));
	close(dup2(q[0], 63));
	FD_SET(63, &set);
	say("select: %s", name_of(select(64, &set, NULL, NULL, &soon)));

	/* Locks. */
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 4 };
	CHECK(fcntl(fd, F_SETLK, &lock) == 0);
	CHILD("lock of another process", struct flock k = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100 }; CHECK(fcntl(fd, F_GETLK, &k) == 0);
		say("  has %d, from %d, %d long, the parent's %d", k.l_type == F_WRLCK, (int)k.l_start, (int)k.l_len, k.l_pid == getppid()); k.l_type = F_WRLCK; k.l_start = 0; k.l_len = 3; say("  %s", name_of(fcntl(fd, F_SETLK, &k))); k.l_len = 2; say("  %s", name_of(fcntl(fd, F_SETLK, &k))));
	struct flock far = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x100000000LL, .l_len = 1 };
	say("beyond 4 GiB: %s", name_of(fcntl(fd, F_SETLK, &far)));
	struct flock open_lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[40];
	sprintf(path, "/proc/self/fd/%d", fd);
	int other = open(path, O_RDWR);
	lock.l_type = F_UNLCK, lock.l_start = lock.l_len = 0;
	CHECK(fcntl(fd, F_SETLK, &lock) == 0);
	say("of open files: %s", name_of(fcntl(fd, F_OFD_SETLK, &open_lock)));
	say("  another's: %s", name_of(fcntl(other, F_OFD_SETLK, &open_lock)));
	CHECK(flock(fd, LOCK_SH) == 0);
	say("flock: %s", name_of(flock(other, LOCK_EX | LOCK_NB)));
	say("flock: %s", name_of(flock(other, LOCK_SH | LOCK_NB)));
	int w = inotify_init1(IN_NONBLOCK);
	say("inotify: %s", name_of(inotify_add_watch(w, "/nowhere", IN_CREATE)));
	char folder[] = "/tmp/emu-set-XXXXXX";
	CHECK(mkdtemp(folder));
	CHECK(inotify_add_watch(w, folder, IN_CREATE) > 0);
	char inside[64];
	sprintf(inside, "%s/new", folder);
	close(open(inside, O_CREAT | O_WRONLY, 0600));
	union { struct inotify_event event; char space[400]; } watched;
	n = read(w, &watched, sizeof watched);
	say("created: %s %d", n > 0 ? watched.event.name : "?", n > 0 && watched.event.mask == IN_CREATE);
	unlink(inside);
	rmdir(folder);
	return 0;
}
