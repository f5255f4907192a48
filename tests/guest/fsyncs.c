/*
 * fsyncs.c - for test guests: write files and make them durable, for as long as the machine lives.
 *
 * usage: fsyncs FOLDER WRITERS
 * Each writer N makes files FOLDER/N-K: written under another name, fsync(2)ed, renamed, and the
 * folder fsync()ed. Then it prints a line "SYNCED N-K BYTES". What a file holds is its name and a
 * space, again and again. Of the last files KEEP stay; before another is removed it prints
 * "REMOVING N-K 0".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEEP	   40u
#define MOST_BYTES 200000

static void say(const char *what, unsigned writer, unsigned k, size_t bytes)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s %u-%u %zu\n", what, writer, k, bytes);

	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		exit(1);
}

static void fail(const char *what)
{
	perror(what);
	printf("FACT failed fsyncs\n");
	fflush(stdout);
	exit(1);
}

/* A new file @to, which had the name @from until all of it was durable. */
static void make(int folder, const char *from, const char *to, size_t bytes)
{
	static char content[MOST_BYTES];
	size_t n = strlen(to);
	int fd;

	for (size_t i = 0; i < bytes; i++)
		content[i] = i % (n + 1) < n ? to[i % (n + 1)] : ' ';
	fd = openat(folder, from, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, content, bytes) != (ssize_t)bytes || fsync(fd))
		fail(from);
	close(fd);
	if (renameat(folder, from, folder, to) || fsync(folder))
		fail(to);
}

static void work(int folder, unsigned writer)
{
	char from[32], to[32];

	snprintf(from, sizeof(from), "%u-new", writer);
	for (unsigned k = 0;; k++) {
		size_t bytes = 1 + (k * 7919u + writer * 104729u) % (k % 4 ? 9000 : MOST_BYTES);

		snprintf(to, sizeof(to), "%u-%u", writer, k);
		make(folder, from, to, bytes);
		say("SYNCED", writer, k, bytes);
		if (k < KEEP)
			continue;
		snprintf(to, sizeof(to), "%u-%u", writer, k - KEEP);
		say("REMOVING", writer, k - KEEP, 0);
		if (unlinkat(folder, to, 0))
			fail(to);
	}
}

int main(int argc, char **argv)
{
	int folder;

	if (argc != 3) {
		fprintf(stderr, "usage: fsyncs FOLDER WRITERS\n");
		return 2;
	}
	folder = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (folder < 0)
		fail(argv[1]);
	for (int n = atoi(argv[2]); n > 1; n--)
		if (fork() == 0)
			work(folder, (unsigned)n);
	work(folder, 1);
	return 0;
}
