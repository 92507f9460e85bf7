<?php
if ( !defined( 'MEDIAWIKI' ) ) {
	exit;
}
$wgSitename = 'MediaWiki';
// The wiki is reached by the proxy and by its own port.
$wgServer = WebRequest::detectServer( false );
$wgScriptPath = '';
$wgArticlePath = '/index.php?title=$1';
$wgResourceBasePath = '';

$wgDBtype = 'mysql';
$wgDBserver = 'mediawiki-db';
$wgDBname = 'mediawiki';
$wgDBuser = 'mediawiki';
$wgDBpassword = trim( file_get_contents( '/run/secrets/db-password' ) );
$wgDBTableOptions = 'ENGINE=InnoDB, DEFAULT CHARSET=binary';
$wgSecretKey = trim( file_get_contents( '/run/secrets/session-key' ) );
$wgAuthenticationTokenVersion = '1';

$wgObjectCaches['valkey'] = [
	'class' => 'RedisBagOStuff',
	'servers' => [ 'mediawiki-cache:6379' ],
	'password' => trim( file_get_contents( '/run/secrets/cache-password' ) ),
];
$wgMainCacheType = 'valkey';
$wgSessionCacheType = 'valkey';
$wgCacheDirectory = '/tmp';

// Only those with an account read, and only the owner makes accounts.
$wgGroupPermissions['*']['read'] = false;
$wgGroupPermissions['*']['edit'] = false;
$wgGroupPermissions['*']['createaccount'] = false;
$wgGroupPermissions['*']['autocreateaccount'] = false;

$wgEnableUploads = true;
$wgUploadDirectory = '/data/files';
$wgUploadPath = '/img_auth.php';
$wgEnableEmail = false;
$wgPingback = false;
$wgLogos = [ '1x' => '/resources/assets/mediawiki.png' ];
$wgDefaultSkin = 'vector';
wfLoadSkin( 'Vector' );
wfLoadSkin( 'Timeless' );
wfLoadExtension( 'ParserFunctions' );
wfLoadExtension( 'Cite' );
wfLoadExtension( 'WikiEditor' );
// What else the owner wants.
if ( is_readable( '/data/LocalSettings.php' ) ) {
	require '/data/LocalSettings.php';
}
