/*
 * guest_kvp.c - partita guest VM kvp and ip: what the guest and the host leave for each other, and
 * the addresses of the guest's adapters. See partita-guest(1).
 */
#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/disk.h"
#include "cli/guest.h"

struct arguments {
	bool json;
	const char *pool; /* of kvp; NULL: the one that suits the verb */
	/* Of ip; lists, NULL: not given. */
	const char *addresses, *subnets, *gateways, *dns;
	bool ipv6, dhcp;
};

/* What a verb needs behind the machine's name; false: said what is missing. */
static bool arguments(int argc, const char *usage, int more)
{
	if (argc - optind == 2 + more)
		return true;
	log_error("usage: partita guest VM %s", usage);
	return false;
}

/* ---- kvp ------------------------------------------------------------------------------------ */

static const char kvp_help[] =
	"Usage: partita guest VM kvp [list] [--pool POOL] [--json]\n"
	"       partita guest VM kvp get KEY [--pool POOL] [--json]\n"
	"       partita guest VM kvp set KEY VALUE [--pool POOL] [--json]\n"
	"       partita guest VM kvp delete KEY [--pool POOL] [--json]\n"
	"\n"
	"Work with the items that host and guest leave for each other.\n"
	"\n"
	"  --pool POOL  external (the host's items for the guest; the default for set and "
	"delete),\n"
	"               guest (the guest's items for the host; the default for get), auto (what "
	"the\n"
	"               guest's system says of itself) or auto-external (what the host says of "
	"itself);\n"
	"               list shows all of them by default\n"
	"  --json       get: an object with key and value; list: an object with an object for each "
	"pool\n"
	"  --help       this help\n";

static const struct cli_option kvp_options[] = {
	CLI_FLAG("json", json),
	CLI_STRING("pool", pool),
	{0},
};

static struct json_object *about(const char *command, const char *pool)
{
	struct json_object *request = cli_guest_request(command);

	cli_guest_add_string(request, "pool", pool);
	return request;
}

/* All items of a pool as an object; NULL: said what is wrong. */
static struct json_object *list_pool(const char *machine, const char *pool)
{
	struct json_object *all = json_object_new_object(), *next = json_object_new_int(0);

	while (next) {
		struct json_object *request = about("kvp-list", pool), *reply, *items;

		json_object_object_add(request, "from", next);
		reply = cli_guest_ask(machine, request);
		if (!reply || !json_object_object_get_ex(reply, "items", &items)) {
			json_object_put(reply);
			json_object_put(all);
			return NULL;
		}
		for (size_t i = 0; i < json_object_array_length(items); i++) {
			struct json_object *one = json_object_array_get_idx(items, i);

			cli_guest_add_string(
				all, cli_guest_string(one, "key"), cli_guest_string(one, "value"));
		}
		if (json_object_object_get_ex(reply, "next", &next))
			json_object_get(next);
		else
			next = NULL;
		json_object_put(reply);
	}
	return all;
}

static int list(const char *machine, const struct arguments *a)
{
	static const char *const pools[] = {"external", "guest", "auto", "auto-external"};
	struct json_object *all = json_object_new_object(), *items;

	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
		const char *pool = a->pool ? a->pool : pools[i];

		items = list_pool(machine, pool);
		if (!items) {
			json_object_put(all);
			return CLI_FAILURE;
		}
		json_object_object_add(all, pool, items);
		if (a->pool)
			break;
	}
	if (a->json) {
		cli_print_json(all);
		return 0;
	}
	json_object_object_foreach(all, pool, of_pool)
	{
		json_object_object_foreach(of_pool, key, value)
			printf("%-14s %s = %s\n", pool, key, json_object_get_string(value));
	}
	json_object_put(all);
	return 0;
}

static int get(const char *machine, const char *key, const struct arguments *a)
{
	struct json_object *request = about("kvp-get", a->pool ? a->pool : "guest"), *reply;

	cli_guest_add_string(request, "key", key);
	reply = cli_guest_ask(machine, request);
	if (reply && !a->json)
		puts(cli_guest_string(reply, "value"));
	return cli_guest_end(reply, a->json);
}

static int change(const char *machine, const char *command, const char *key, const char *value,
	const struct arguments *a)
{
	struct json_object *request = about(command, a->pool ? a->pool : "external");

	cli_guest_add_string(request, "key", key);
	if (value)
		cli_guest_add_string(request, "value", value);
	return cli_guest_end(cli_guest_ask(machine, request), a->json);
}

int cli_guest_kvp(int argc, char **argv)
{
	static const struct cli_syntax syntax = {.command = "guest VM kvp",
		.help = kvp_help,
		.options = kvp_options,
		.min = 1,
		.max = 4,
		.arguments = "the machine"};
	struct arguments a = {0};
	int status = cli_options(&syntax, argc, argv, &a);
	const char *machine, *verb, *key, *value;

	if (status != CLI_GO_ON)
		return status;
	machine = argv[optind];
	verb = argc - optind > 1 ? argv[optind + 1] : "list";
	key = argc - optind > 2 ? argv[optind + 2] : NULL;
	value = argc - optind > 3 ? argv[optind + 3] : NULL;
	if (strcmp(verb, "list") == 0)
		return key ? (arguments(argc, "kvp list", 0), CLI_USAGE_ERROR) : list(machine, &a);
	if (strcmp(verb, "get") == 0)
		return arguments(argc, "kvp get KEY", 1) ? get(machine, key, &a) : CLI_USAGE_ERROR;
	if (strcmp(verb, "set") == 0)
		return arguments(argc, "kvp set KEY VALUE", 2)
			       ? change(machine, "kvp-set", key, value, &a)
			       : CLI_USAGE_ERROR;
	if (strcmp(verb, "delete") == 0)
		return arguments(argc, "kvp delete KEY", 1)
			       ? change(machine, "kvp-delete", key, NULL, &a)
			       : CLI_USAGE_ERROR;
	log_error("kvp %s: there are list, get, set and delete", verb);
	return CLI_USAGE_ERROR;
}

/* ---- ip ------------------------------------------------------------------------------------- */

static const char ip_help[] =
	"Usage: partita guest VM ip get ADAPTER [--ipv6] [--json]\n"
	"       partita guest VM ip set ADAPTER [--ipv6] [OPTION]...\n"
	"\n"
	"Show or change the addresses of the guest's network adapter ADAPTER, by the name that the "
	"guest\n"
	"knows: for Linux, get takes a MAC address and set the adapter's device ID. Lists are "
	"separated\n"
	"by ';'.\n"
	"\n"
	"  --ipv6            the IPv6 addresses\n"
	"  --address LIST    set: the addresses\n"
	"  --subnet LIST     set: as many masks, or lengths of IPv6 prefixes\n"
	"  --gateway LIST    set: the gateways\n"
	"  --dns LIST        set: the name servers\n"
	"  --dhcp            set: ask a DHCP server instead\n"
	"  --json            get: an object with addresses, subnets, gateways, dns, dhcp; also "
	"origins\n"
	"                    where the guest tells (static, other, unknown)\n"
	"  --help            this help\n";

static const struct cli_option ip_options[] = {
	CLI_FLAG("json", json),
	CLI_FLAG("ipv6", ipv6),
	CLI_STRING("address", addresses),
	CLI_STRING("subnet", subnets),
	CLI_STRING("gateway", gateways),
	CLI_STRING("dns", dns),
	CLI_FLAG("dhcp", dhcp),
	{0},
};

/* Linux compares MAC addresses letter by letter with capital ones. */
static void add_adapter(struct json_object *request, const char *adapter)
{
	char name[18];

	if (strlen(adapter) != 17 || adapter[2] != ':') {
		cli_guest_add_string(request, "adapter", adapter);
		return;
	}
	for (unsigned i = 0; i < sizeof(name); i++)
		name[i] = (char)toupper((unsigned char)adapter[i]);
	cli_guest_add_string(request, "adapter", name);
}

static int ip_end(struct json_object *reply, bool show, bool json)
{
	static const char *const names[] = {"addresses", "subnets", "origins", "gateways", "dns"};
	struct json_object *value;

	if (!reply || !show || json)
		return cli_guest_end(reply, json);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (json_object_object_get_ex(reply, names[i], &value))
			printf("%-10s %s\n", names[i], json_object_get_string(value));
	if (json_object_object_get_ex(reply, "dhcp", &value))
		printf("%-10s %s\n", "dhcp", json_object_get_boolean(value) ? "yes" : "no");
	return cli_guest_end(reply, false);
}

/* What ip set was told, into @request. False: nothing. */
static bool add_changes(struct json_object *request, const struct arguments *a)
{
	const struct {
		const char *name, *list;
	} lists[] = {
		{"addresses", a->addresses},
		{"subnets", a->subnets},
		{"gateways", a->gateways},
		{"dns", a->dns},
	};
	bool any = a->dhcp;

	if (a->dhcp)
		json_object_object_add(request, "dhcp", json_object_new_boolean(true));
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (lists[i].list) {
			cli_guest_add_string(request, lists[i].name, lists[i].list);
			any = true;
		}
	return any;
}

int cli_guest_ip(int argc, char **argv)
{
	static const struct cli_syntax syntax = {.command = "guest VM ip",
		.help = ip_help,
		.options = ip_options,
		.min = 3,
		.max = 3,
		.arguments = "the machine, get or set, and an ADAPTER"};
	struct arguments a = {0};
	int status = cli_options(&syntax, argc, argv, &a);
	struct json_object *request;
	bool set;

	if (status != CLI_GO_ON)
		return status;
	set = strcmp(argv[optind + 1], "set") == 0;
	request = cli_guest_request(set ? "ip-set" : "ip-get");
	if ((!set && strcmp(argv[optind + 1], "get") != 0) || set != add_changes(request, &a)) {
		log_error(set ? "ip set: give the addresses, or --dhcp"
			      : "there are 'ip get ADAPTER', and 'ip set ADAPTER' with addresses");
		json_object_put(request);
		return CLI_USAGE_ERROR;
	}
	cli_guest_add_string(request, "family", a.ipv6 ? "ipv6" : "ipv4");
	add_adapter(request, argv[optind + 2]);
	return ip_end(cli_guest_ask(argv[optind], request), !set, a.json);
}
