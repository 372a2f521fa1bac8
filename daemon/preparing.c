#include "daemon/preparing.h"

#include <stddef.h>

#include "daemon/account.h"
#include "daemon/connection.h"
#include "daemon/dispatch.h"
#include "daemon/engine_thread.h"
#include "daemon/limits.h"
#include "daemon/prepare.h"
#include "daemon/request.h"
#include "daemon/server.h"

static void on_prepare(uv_work_t *work) {
        struct request *request = work->data;
        request_prepare(request, request->engine);
}

static void on_prepared(uv_work_t *work, int status);

static void queue(struct server *server, struct request *request) {
        request->connection->account->n_preparing++;
        uv_queue_work(&server->loop, &request->work, on_prepare, on_prepared);
}

static struct request *take_unprepared(struct account *account) {
        struct request *request = account->unprepared_first;
        if (request)
                account->unprepared_first = request->next;
        if (!account->unprepared_first)
                account->unprepared_last = NULL;
        return request;
}

/* The next one whose client is still there; the others need no preparing to be given back. */
static void queue_next(struct server *server, struct account *account) {
        struct request *request;
        while (account->n_preparing < PREPARING_PER_UID_MAX &&
               (request = take_unprepared(account))) {
                if (request->connection->state == CONNECTION_OPEN)
                        queue(server, request);
                else
                        dispatch_prepared(request);
        }
}

static void on_prepared(uv_work_t *work, int status) {
        (void)status; /* nothing is cancelled */
        struct request *request = work->data;
        struct server *server = request->connection->server;
        struct account *account = request->connection->account;
        account->n_preparing--;
        queue_next(server, account);
        dispatch_prepared(request);
}

void preparing_start(struct server *server, struct request *request) {
        struct account *account = request->connection->account;
        request->engine = engine_thread_engine(server->engine);
        request->context_tokens = engine_thread_context(server->engine);
        request->model_name = server->model_name;
        request->work.data = request;
        request->next = NULL;
        if (account->unprepared_last)
                account->unprepared_last->next = request;
        else
                account->unprepared_first = request;
        account->unprepared_last = request;
        queue_next(server, account);
}
