INSERT INTO account (id, me, timezone, created_at)
VALUES (1, 'https://ada.example/', 'UTC', '2026-11-20 20:14:30+00:00');
INSERT INTO site (account_id, micropub, authorization_endpoint, token_endpoint, scope)
VALUES (1, 'https://ada.example/micropub', 'https://ada.example/auth', 'https://ada.example/token', '');
INSERT INTO connection
  (id, account_id, source, source_user, source_name, start_at, failures, archive_failures)
VALUES (1, 1, 'trakt', 'u', 'ada', '2026-11-20 20:14:30+00:00', 0, 0);
INSERT INTO post (id, account_id, state, due_at, attempts, rediscovered)
VALUES (1, 1, 'unsure', '2026-11-20 20:14:30+00:00', 1, false);
INSERT INTO watch (id, account_id, standing, title, source, key, work, watched_at)
VALUES
  (1, 1, 'archived', 'Tron', 'trakt', '1', '{"kind": "movie", "ids": {"trakt": 481}}', '2026-11-20 20:14:30+00:00'),
  (2, 1, 'undated', 'Pilot', 'trakt', '2',
   '{"kind": "episode", "ids": {"trakt": 62085}, "show": {"ids": {"trakt": 1390}}}', NULL),
  (3, 1, 'unreadable', 'Something', 'trakt', '3', NULL, NULL);
INSERT INTO sighting (id, connection_id, watch_id, key, seen_at, payload)
VALUES (1, 1, 1, '1', '2026-11-20 20:14:30+00:00', '{}'), (2, 1, 2, '2', '2026-11-20 20:14:30+00:00', '{}'), (3, 1, 3, '3', '2026-11-20 20:14:30+00:00', '{}')
