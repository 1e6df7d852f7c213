// SPDX-License-Identifier: MIT
/*
 * Process 1 of the kernel that scripts/real-kernel.sh boots. It puts a layer that takes all writes over the host's
 * files, loads the fake GPU, runs one program as the user who called the script, and switches the machine off.
 *
 * RUN on the kernel's command line names a folder of the host with three files. Their strings end with a zero byte:
 *
 *   settings     lines NAME=VALUE: see read_settings()
 *   environment  the program's environment
 *   command      the program and its arguments
 *
 * Consoles: 1 is the program's input, 2 its output, 3 its errors; on 4 comes one line when the input has ended, with the
 * number of its bytes. For a shell, console 1 is the terminal. The exit status goes to the kernel's log.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define CHUNK 4096	/* a pipe that can be written to takes as much without blocking */
#define MOST_FOLDERS 32

static struct {
	const char *folder, *module;
	const char *writable[MOST_FOLDERS];
	int writable_count;
	uid_t uid;
	gid_t gid, groups[256];
	size_t group_count;
	rlim_t files;
	int shell;
} settings;

/* A line in the kernel's log, where the script looks for it. */
static void say(const char *form, ...)
{
	char line[512] = "<4>real-kernel: ";
	size_t start = strlen(line);
	va_list rest;
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	va_start(rest, form);
	vsnprintf(line + start, sizeof(line) - start, form, rest);
	va_end(rest);
	if (fd >= 0) {
		ssize_t unused = write(fd, line, strlen(line));

		(void)unused;
		close(fd);
	} else {
		fprintf(stderr, "%s\n", line + 3);
	}
}

static _Noreturn void switch_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static _Noreturn void give_up(const char *what)
{
	say("start-up failed: %s: %s", what, strerror(errno));
	switch_off();
}

/* The strings of a file, as execve() takes them. Never freed. */
static char **strings_of(const char *run, const char *name)
{
	char path[4096], *text = NULL, **strings;
	size_t size = 0, room = 0, count = 0, i;
	ssize_t got = 1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", run, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		give_up(path);
	while (got > 0) {
		if (room - size < 2) {
			room = room * 2 + 65536;
			text = realloc(text, room);
			if (!text)
				give_up(path);
		}
		got = read(fd, text + size, room - size - 1);
		if (got < 0)
			give_up(path);
		size += got;
	}
	close(fd);
	text[size] = 0;
	for (i = 0; i < size; i++)
		count += !text[i];
	strings = calloc(count + 1, sizeof(*strings));
	if (!strings)
		give_up(path);
	for (i = 0; i < count; i++) {
		strings[i] = text;
		text += strlen(text) + 1;
	}
	return strings;
}

static void read_settings(char **lines)
{
	for (; *lines; lines++) {
		char *value = strchr(*lines, '=');

		if (!value)
			continue;
		*value++ = 0;
		if (!strcmp(*lines, "folder"))		/* where the program starts */
			settings.folder = value;
		else if (!strcmp(*lines, "module"))	/* the fake GPU */
			settings.module = value;
		else if (!strcmp(*lines, "writable") && settings.writable_count < MOST_FOLDERS)
			settings.writable[settings.writable_count++] = value;	/* a folder that is the host's own */
		else if (!strcmp(*lines, "uid"))
			settings.uid = strtoul(value, NULL, 10);
		else if (!strcmp(*lines, "gid"))
			settings.gid = strtoul(value, NULL, 10);
		else if (!strcmp(*lines, "group") && settings.group_count < 256)
			settings.groups[settings.group_count++] = strtoul(value, NULL, 10);
		else if (!strcmp(*lines, "files"))	/* how many a process may have open */
			settings.files = strtoul(value, NULL, 10);
		else if (!strcmp(*lines, "shell"))
			settings.shell = 1;
	}
}

static void mount_on(const char *source, const char *path, const char *type, const char *options)
{
	if (mount(source, path, type, 0, options))
		give_up(path);
}

/* The host's files with a layer over them, the kernel's own file systems, and the folders that stay the host's. */
static void make_root(void)
{
	int i;

	mount_on("layer", "/tmp", "tmpfs", "mode=755");
	if (mkdir("/tmp/upper", 0755) || mkdir("/tmp/work", 0755) || mkdir("/tmp/root", 0755))
		give_up("the layer over the host's files");
	mount_on("host", "/tmp/root", "overlay", "lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work");
	if (chdir("/tmp/root"))
		give_up("/tmp/root");
	mount_on("proc", "proc", "proc", NULL);
	mount_on("sysfs", "sys", "sysfs", NULL);
	mount_on("debugfs", "sys/kernel/debug", "debugfs", "mode=755");
	mount_on("devtmpfs", "dev", "devtmpfs", "mode=755");
	mkdir("dev/shm", 0777);
	mkdir("dev/pts", 0755);
	mount_on("shm", "dev/shm", "tmpfs", "mode=1777");
	mount_on("devpts", "dev/pts", "devpts", "mode=620,ptmxmode=666");
	for (i = 0; i < settings.writable_count; i++)
		mount_on("host", settings.writable[i] + 1, "hostfs", settings.writable[i]);
	if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("/");
	if (symlink("/proc/self/fd", "/dev/fd") || symlink("/proc/self/fd/0", "/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/dev/stdout") || symlink("/proc/self/fd/2", "/dev/stderr"))
		give_up("/dev/fd");
	chmod("/tmp", 01777);
}

static void load_gpu(void)
{
	int fd = open(settings.module, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		give_up(settings.module);
	if (chmod("/dev/dri/renderD128", 0666) || chmod("/dev/dri/card0", 0666))
		give_up("/dev/dri/renderD128: panthor did not take the GPU");
}

static int console(int number, int flags)
{
	struct termios raw;
	char path[16];
	int fd;

	snprintf(path, sizeof(path), "/dev/tty%d", number);
	fd = open(path, flags | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		give_up(path);
	if (!settings.shell) {
		tcgetattr(fd, &raw);
		cfmakeraw(&raw);
		tcsetattr(fd, TCSANOW, &raw);
	}
	return fd;
}

/* In the child: becomes the program. Returns only if that fails. */
static void become(char **command, char **environment, int in, int out, int err)
{
	struct rlimit files = { settings.files, settings.files };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (settings.shell)
		ioctl(in, TIOCSCTTY, 0);
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (settings.files)
		setrlimit(RLIMIT_NOFILE, &files);
	if (setgroups(settings.group_count, settings.groups) || setgid(settings.gid) || setuid(settings.uid) ||
	    chdir(settings.folder)) {
		fprintf(stderr, "real-kernel: %s: %s\n", settings.folder, strerror(errno));
		_exit(126);
	}
	environ = environment;
	execvp(command[0], command);
	fprintf(stderr, "real-kernel: %s: %s\n", command[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void write_all(int fd, const char *bytes, ssize_t size)
{
	while (size > 0) {
		ssize_t done = write(fd, bytes, size);

		if (done < 0 && errno != EINTR)
			return;
		if (done > 0) {
			bytes += done;
			size -= done;
		}
	}
}

/* What can be read now goes from one to the other. False at the end. */
static int forward(int from, int to)
{
	char bytes[CHUNK];
	ssize_t got = read(from, bytes, sizeof(bytes));

	if (got > 0)
		write_all(to, bytes, got);
	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Takes the dead. True once the program is among them. */
static int has_ended(pid_t program, int *status)
{
	int one, ended = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
		if (pid == program) {
			*status = one;
			ended = 1;
		}
	}
	return ended;
}

static void woken(int signal)
{
	(void)signal;
}

/* Carries input, output and errors until the program has ended and everything it wrote is out. */
static int attend(pid_t program, int in, int out, int err)
{
	int to_out = console(2, O_WRONLY), to_err = console(3, O_WRONLY);
	int from_in = console(1, O_RDONLY), ended_in = console(4, O_RDONLY);
	unsigned long long input = 0, input_size = ~0ull;
	struct timespec now = { 0 };
	char number[32] = "";
	int status = 0, ended = 0;
	sigset_t none;

	sigemptyset(&none);
	fcntl(out, F_SETFL, O_NONBLOCK);
	fcntl(err, F_SETFL, O_NONBLOCK);
	while (1) {
		struct pollfd fds[] = {
			{ .fd = out, .events = POLLIN },
			{ .fd = err, .events = POLLIN },
			{ .fd = input_size == ~0ull ? ended_in : -1, .events = POLLIN },
			{ .fd = in, .events = POLLOUT },
			{ .fd = -1, .events = POLLIN },
		};
		int ready;

		/* Input is read only when there is room for it. */
		if (in >= 0 && !ended) {
			struct pollfd room = { .fd = in, .events = POLLOUT };

			poll(&room, 1, 0);
			if (room.revents & POLLERR) {
				close(in);
				in = -1;
			}
			if (room.revents & POLLOUT) {
				fds[3].fd = -1;
				fds[4].fd = from_in;
			}
		}
		if (in < 0 || ended)
			fds[3].fd = -1;
		ready = ppoll(fds, 5, ended ? &now : NULL, &none);
		if (has_ended(program, &status)) {
			ended = 1;
			continue;	/* once more: what it wrote last */
		}
		if (ready < 0)
			continue;
		if (ended && !(fds[0].revents & POLLIN) && !(fds[1].revents & POLLIN))
			break;
		if (fds[0].revents && !forward(out, to_out))
			out = -1;
		if (fds[1].revents && !forward(err, to_err))
			err = -1;
		if (fds[2].revents & POLLIN) {
			size_t length = strlen(number);
			ssize_t got = read(ended_in, number + length, sizeof(number) - 1 - length);

			if (got > 0 && strchr(number, '\n'))
				input_size = strtoull(number, NULL, 10);
		}
		if (fds[4].revents & POLLIN) {
			char bytes[CHUNK];
			ssize_t got = read(from_in, bytes, sizeof(bytes));

			if (got > 0) {
				input += got;
				write_all(in, bytes, got);
			}
		}
		if (in >= 0 && input >= input_size) {
			close(in);
			in = -1;
		}
	}
	tcdrain(to_out);
	tcdrain(to_err);
	return status;
}

int main(void)
{
	const char *run = getenv("RUN");
	char **command, **environment;
	int in[2], out[2], err[2], status;
	sigset_t child;
	pid_t program;

	if (!run) {
		errno = EINVAL;
		give_up("no RUN on the command line");
	}
	settings.folder = "/";
	read_settings(strings_of(run, "settings"));
	environment = strings_of(run, "environment");
	command = strings_of(run, "command");
	make_root();
	load_gpu();
	sethostname("real-kernel", 11);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGCHLD, woken);
	signal(SIGPIPE, SIG_IGN);
	if (settings.shell) {
		in[0] = console(1, O_RDWR);
		program = fork();
		if (program < 0)
			give_up("fork");
		if (!program)
			become(command, environment, in[0], in[0], in[0]);
		while (waitpid(program, &status, 0) < 0 && errno == EINTR)
			;
	} else {
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
			give_up("pipes");
		program = fork();
		if (program < 0)
			give_up("fork");
		if (!program)
			become(command, environment, in[0], out[1], err[1]);
		close(in[0]);
		close(out[1]);
		close(err[1]);
		status = attend(program, in[1], out[0], err[0]);
	}
	say("exit status %d", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	/* Whoever is left goes as on a machine that is switched off, so that the node is closed before the end. */
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
	switch_off();
}
